"""Layers that Keras does not have."""

from tf_mtl.layers._crf import CRF
from tf_mtl.layers._decoder import Decoder
from tf_mtl.layers._first_subwords import FirstSubwords
from tf_mtl.layers._mask_scores import MaskScores
from tf_mtl.layers._masked_mean import MaskedMean

__all__ = [
    "CRF",
    "Decoder",
    "FirstSubwords",
    "MaskScores",
    "MaskedMean",
]
