"""Losses that Keras lacks."""

from tf_mtl.losses._batch_loss import BatchLoss
from tf_mtl.losses._cellwise_binary_crossentropy import CellwiseBinaryCrossentropy
from tf_mtl.losses._cellwise_squared_error import CellwiseSquaredError
from tf_mtl.losses._crf_negative_log_likelihood import CRFNegativeLogLikelihood
from tf_mtl.losses._list_loss import ListLoss
from tf_mtl.losses._list_pairwise_logistic import ListPairwiseLogistic
from tf_mtl.losses._list_softmax import ListSoftmax
from tf_mtl.losses._list_squared_error import ListSquaredError
from tf_mtl.losses._ordinal_crossentropy import OrdinalCrossentropy

__all__ = [
    "BatchLoss",
    "CRFNegativeLogLikelihood",
    "CellwiseBinaryCrossentropy",
    "CellwiseSquaredError",
    "ListLoss",
    "ListPairwiseLogistic",
    "ListSoftmax",
    "ListSquaredError",
    "OrdinalCrossentropy",
]
