"""Keras callbacks for several tasks."""

from tf_mtl.callbacks.checkpoint import Checkpoint as Checkpoint
from tf_mtl.callbacks.dynamic_rates import DynamicRates as DynamicRates
from tf_mtl.callbacks.freezing import Freezing as Freezing
from tf_mtl.callbacks.gradient_conflict import GradientConflict as GradientConflict
from tf_mtl.callbacks.magnitude_pruning import MagnitudePruning as MagnitudePruning
from tf_mtl.callbacks.multi_task_early_stopping import MultiTaskEarlyStopping as MultiTaskEarlyStopping
