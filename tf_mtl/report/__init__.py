"""Tables and plots of the gain or cost of multi-task learning."""

from tf_mtl.report._compare import Comparison, compare
from tf_mtl.report._curves import curves
from tf_mtl.report._table import table
from tf_mtl.report._variants import variants

__all__ = [
    "Comparison",
    "compare",
    "curves",
    "table",
    "variants",
]
