"""Keras callbacks for several tasks."""

from tf_mtl.callbacks.checkpoint import Checkpoint as Checkpoint
from tf_mtl.callbacks.gradient_conflict import GradientConflict as GradientConflict
from tf_mtl.callbacks.magnitude_pruning import MagnitudePruning as MagnitudePruning
