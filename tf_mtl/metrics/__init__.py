"""Metrics that Keras lacks. All are exact over a data set and over replicas, unless documented otherwise."""

from tf_mtl.metrics._angles import Angles
from tf_mtl.metrics._attachment_scores import LabeledAttachmentScore, UnlabeledAttachmentScore
from tf_mtl.metrics._binary_accuracy import LogitsBinaryAccuracy
from tf_mtl.metrics._bleu import Bleu
from tf_mtl.metrics._calibration import CalibrationError, NormalizedEntropy
from tf_mtl.metrics._chrf import ChrF
from tf_mtl.metrics._correct_keypoints import CorrectKeypoints
from tf_mtl.metrics._depth_errors import AbsoluteRelativeError, DepthAccuracy
from tf_mtl.metrics._equal_error_rate import EqualErrorRate
from tf_mtl.metrics._f1 import MacroF1, MultiLabelF1
from tf_mtl.metrics._frame_accuracy import FrameAccuracy
from tf_mtl.metrics._mean_average_precision import MeanAveragePrecision
from tf_mtl.metrics._of_conversion import OfConversion
from tf_mtl.metrics._pearson import Pearson
from tf_mtl.metrics._perplexity import Perplexity
from tf_mtl.metrics._quadratic_weighted_kappa import QuadraticWeightedKappa
from tf_mtl.metrics._ranking_metric import RankingMetric
from tf_mtl.metrics._relation_f1 import RelationF1
from tf_mtl.metrics._retrieval import Retrieval
from tf_mtl.metrics._rouge_l import RougeL
from tf_mtl.metrics._span_f1 import SpanF1
from tf_mtl.metrics._spans_of_rows import SpanExactMatch, SpanOverlapF1
from tf_mtl.metrics._spearman import Spearman
from tf_mtl.metrics._squad_scores import squad_scores

__all__ = [
    "AbsoluteRelativeError",
    "Angles",
    "Bleu",
    "CalibrationError",
    "ChrF",
    "CorrectKeypoints",
    "DepthAccuracy",
    "EqualErrorRate",
    "FrameAccuracy",
    "LabeledAttachmentScore",
    "LogitsBinaryAccuracy",
    "MacroF1",
    "MeanAveragePrecision",
    "MultiLabelF1",
    "NormalizedEntropy",
    "OfConversion",
    "Pearson",
    "Perplexity",
    "QuadraticWeightedKappa",
    "RankingMetric",
    "RelationF1",
    "Retrieval",
    "RougeL",
    "SpanExactMatch",
    "SpanF1",
    "SpanOverlapF1",
    "Spearman",
    "UnlabeledAttachmentScore",
    "squad_scores",
]
