"""Tables, plots and pages on what multi-task learning gains and costs."""

from tf_mtl.report._compare import Comparison, compare
from tf_mtl.report._confusion_matrix import confusion_matrix
from tf_mtl.report._curves import curves
from tf_mtl.report._detections import detections
from tf_mtl.report._html import html
from tf_mtl.report._masks import masks
from tf_mtl.report._precision_recall import precision_recall
from tf_mtl.report._run import html_of_run
from tf_mtl.report._table import table
from tf_mtl.report._variants import variants

__all__ = [
    "Comparison",
    "compare",
    "confusion_matrix",
    "curves",
    "detections",
    "html",
    "html_of_run",
    "masks",
    "precision_recall",
    "table",
    "variants",
]
