"""Keras callbacks for multi-task training."""

from tf_mtl.callbacks._checkpoint import Checkpoint
from tf_mtl.callbacks._curriculum import Curriculum
from tf_mtl.callbacks._dynamic_rates import DynamicRates
from tf_mtl.callbacks._freezing import Freezing
from tf_mtl.callbacks._gradient_conflict import GradientConflict
from tf_mtl.callbacks._magnitude_pruning import MagnitudePruning
from tf_mtl.callbacks._multi_task_early_stopping import MultiTaskEarlyStopping
from tf_mtl.callbacks._reduce_task_lr_on_plateau import ReduceTaskLROnPlateau
from tf_mtl.callbacks._stop_and_go import StopAndGo
from tf_mtl.callbacks._task_affinity import TaskAffinity
from tf_mtl.callbacks._update_alignment import UpdateAlignment

__all__ = [
    "Checkpoint",
    "Curriculum",
    "DynamicRates",
    "Freezing",
    "GradientConflict",
    "MagnitudePruning",
    "MultiTaskEarlyStopping",
    "ReduceTaskLROnPlateau",
    "StopAndGo",
    "TaskAffinity",
    "UpdateAlignment",
]
