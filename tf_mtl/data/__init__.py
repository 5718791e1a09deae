"""Data pipelines: missing labels, and mixtures of data sets that each label some of the tasks."""

from tf_mtl.data.mask_missing import mask_missing as mask_missing
from tf_mtl.data.mix import mix as mix
