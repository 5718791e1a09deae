"""Tasks: named heads with their losses, metrics and decoding."""

from tf_mtl.tasks._base import Task
from tf_mtl.tasks._binary_classification import BinaryClassification
from tf_mtl.tasks._classification import Classification
from tf_mtl.tasks._conversion import Conversion
from tf_mtl.tasks._count import Count
from tf_mtl.tasks._dense_task import DenseTask
from tf_mtl.tasks._dependency_parse import DependencyParse
from tf_mtl.tasks._depth import Depth
from tf_mtl.tasks._detection import Detection
from tf_mtl.tasks._generation import Generation
from tf_mtl.tasks._keypoints import Keypoints
from tf_mtl.tasks._language_model import LanguageModel
from tf_mtl.tasks._list_task import ListTask
from tf_mtl.tasks._masked_lm import MaskedLM
from tf_mtl.tasks._matching import Matching
from tf_mtl.tasks._multi_label import MultiLabel
from tf_mtl.tasks._normals import Normals
from tf_mtl.tasks._ordinal import Ordinal
from tf_mtl.tasks._pair_task import PairTask
from tf_mtl.tasks._ranking import Ranking
from tf_mtl.tasks._raw_labels import EncodedLabels, TextRecords
from tf_mtl.tasks._regression import Regression
from tf_mtl.tasks._relations import Relations
from tf_mtl.tasks._segmentation import Segmentation
from tf_mtl.tasks._sequence_task import SequenceTask
from tf_mtl.tasks._span_extraction import SpanExtraction
from tf_mtl.tasks._tagging import Tagging

__all__ = [
    "BinaryClassification",
    "Classification",
    "Conversion",
    "Count",
    "DenseTask",
    "DependencyParse",
    "Depth",
    "Detection",
    "EncodedLabels",
    "Generation",
    "Keypoints",
    "LanguageModel",
    "ListTask",
    "MaskedLM",
    "Matching",
    "MultiLabel",
    "Normals",
    "Ordinal",
    "PairTask",
    "Ranking",
    "Regression",
    "Relations",
    "Segmentation",
    "SequenceTask",
    "SpanExtraction",
    "Tagging",
    "Task",
    "TextRecords",
]
