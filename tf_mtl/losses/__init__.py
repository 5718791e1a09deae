"""Losses that Keras lacks."""

from tf_mtl.losses._cellwise_binary_crossentropy import CellwiseBinaryCrossentropy
from tf_mtl.losses._crf_negative_log_likelihood import CRFNegativeLogLikelihood
from tf_mtl.losses._scaled_mean_squared_error import ScaledMeanSquaredError

__all__ = [
    "CRFNegativeLogLikelihood",
    "CellwiseBinaryCrossentropy",
    "ScaledMeanSquaredError",
]
