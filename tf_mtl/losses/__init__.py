"""Losses that Keras lacks."""

from tf_mtl.losses._batch_loss import BatchLoss
from tf_mtl.losses._box_loss import BoxLoss
from tf_mtl.losses._cellwise_binary_crossentropy import CellwiseBinaryCrossentropy
from tf_mtl.losses._cellwise_errors import CellwiseAbsoluteError, CellwiseHuber, CellwiseQuantile
from tf_mtl.losses._cellwise_poisson import CellwisePoisson
from tf_mtl.losses._cellwise_squared_error import CellwiseSquaredError
from tf_mtl.losses._class_crossentropy import ClassCrossentropy
from tf_mtl.losses._conversion_crossentropy import ConversionCrossentropy
from tf_mtl.losses._cosine_distance import CosineDistance
from tf_mtl.losses._crf_negative_log_likelihood import CRFNegativeLogLikelihood
from tf_mtl.losses._dependency_crossentropy import DependencyCrossentropy
from tf_mtl.losses._depth_loss import DepthLoss
from tf_mtl.losses._detection_loss import DetectionLoss
from tf_mtl.losses._in_batch_softmax import InBatchSoftmax
from tf_mtl.losses._list_loss import ListLoss
from tf_mtl.losses._list_pairwise_logistic import ListPairwiseLogistic
from tf_mtl.losses._list_softmax import ListSoftmax
from tf_mtl.losses._list_squared_error import ListSquaredError
from tf_mtl.losses._ordinal_crossentropy import OrdinalCrossentropy
from tf_mtl.losses._point_distance import PointDistance
from tf_mtl.losses._relation_loss import RelationLoss
from tf_mtl.losses._sigmoid_focal import SigmoidFocal
from tf_mtl.losses._soft_dice import SoftDice
from tf_mtl.losses._span_crossentropy import SpanCrossentropy

__all__ = [
    "BatchLoss",
    "BoxLoss",
    "CRFNegativeLogLikelihood",
    "CellwiseAbsoluteError",
    "CellwiseBinaryCrossentropy",
    "CellwiseHuber",
    "CellwisePoisson",
    "CellwiseQuantile",
    "CellwiseSquaredError",
    "ClassCrossentropy",
    "ConversionCrossentropy",
    "CosineDistance",
    "DependencyCrossentropy",
    "DepthLoss",
    "DetectionLoss",
    "InBatchSoftmax",
    "ListLoss",
    "ListPairwiseLogistic",
    "ListSoftmax",
    "ListSquaredError",
    "OrdinalCrossentropy",
    "PointDistance",
    "RelationLoss",
    "SigmoidFocal",
    "SoftDice",
    "SpanCrossentropy",
]
