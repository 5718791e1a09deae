"""Losses that Keras lacks."""

from tf_mtl.losses._batch_loss import BatchLoss
from tf_mtl.losses._cellwise_binary_crossentropy import CellwiseBinaryCrossentropy
from tf_mtl.losses._cellwise_squared_error import CellwiseSquaredError
from tf_mtl.losses._crf_negative_log_likelihood import CRFNegativeLogLikelihood
from tf_mtl.losses._dependency_crossentropy import DependencyCrossentropy
from tf_mtl.losses._ordinal_crossentropy import OrdinalCrossentropy

__all__ = [
    "BatchLoss",
    "CRFNegativeLogLikelihood",
    "CellwiseBinaryCrossentropy",
    "CellwiseSquaredError",
    "DependencyCrossentropy",
    "OrdinalCrossentropy",
]
