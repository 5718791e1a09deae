"""Layers that Keras lacks."""

from tf_mtl.layers.crf import CRF as CRF
from tf_mtl.layers.first_subwords import FirstSubwords as FirstSubwords
from tf_mtl.layers.mask_scores import MaskScores as MaskScores
