"""Data: sources of annotated rows, missing labels, and mixtures of data sets that each label some of the tasks."""

from tf_mtl.data.batch_by_length import batch_by_length as batch_by_length
from tf_mtl.data.concatenate import concatenate as concatenate
from tf_mtl.data.dynamic_rates import DynamicRates as DynamicRates
from tf_mtl.data.encode_text import encode_text as encode_text
from tf_mtl.data.from_conll import from_conll as from_conll
from tf_mtl.data.from_label_folder import from_label_folder as from_label_folder
from tf_mtl.data.from_table import from_csv as from_csv
from tf_mtl.data.from_table import from_jsonl as from_jsonl
from tf_mtl.data.from_tfds import from_tfds as from_tfds
from tf_mtl.data.labels_of import labels_of as labels_of
from tf_mtl.data.mask_missing import mask_missing as mask_missing
from tf_mtl.data.mix import mix as mix
from tf_mtl.data.mixture import Mixture as Mixture
from tf_mtl.data.tfrecords import cache_tfrecords as cache_tfrecords
