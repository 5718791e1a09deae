"""Keras callbacks for multi-task training."""

from tf_mtl.callbacks._checkpoint import Checkpoint
from tf_mtl.callbacks._dynamic_rates import DynamicRates
from tf_mtl.callbacks._freezing import Freezing
from tf_mtl.callbacks._gradient_conflict import GradientConflict
from tf_mtl.callbacks._magnitude_pruning import MagnitudePruning
from tf_mtl.callbacks._multi_task_early_stopping import MultiTaskEarlyStopping
from tf_mtl.callbacks._task_affinity import TaskAffinity

__all__ = [
    "Checkpoint",
    "DynamicRates",
    "Freezing",
    "GradientConflict",
    "MagnitudePruning",
    "MultiTaskEarlyStopping",
    "TaskAffinity",
]
