"""How far the tasks' gradients agree."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._engine.objectives import Objectives
from tf_mtl._engine.parameter_gradients import shared_gramian
from tf_mtl._graph.partition import Partition
from tf_mtl._pipeline.ranks import traced_by_rank


class GradientCosines:
    """The cosines between the tasks' gradients of the shared variables, traced once for batches of the same form.

    Args:
        objectives: The losses in force.
        parts: The model's variables by the tasks that they reach.
    """

    def __init__(self, objectives: Objectives, parts: Partition):
        self._objectives, self._parts = objectives, parts
        self._gramian = traced_by_rank(self._gramian_on, autograph=False)

    def on(self, model: keras.Model, batch: tuple[Any, Any, Any]) -> np.ndarray:
        """Return the cosines [T, T] on a batch, (x, y, weight), in inference mode."""
        self._parts.check_shared("gradient_cosines")
        gramian = self._gramian(model, *batch).numpy().astype("float64")
        norms = np.sqrt(np.diag(gramian))
        norms[norms == 0] = np.nan
        return gramian / np.outer(norms, norms)

    def _gramian_on(self, model, x, y, weight):
        labels = self._objectives.unpack_labels(y, weight)

        def losses_of(outputs):
            loss_sums, weight_sums = self._objectives.loss_sums(labels, outputs)
            return [tf.math.divide_no_nan(*pair) for pair in zip(loss_sums, tf.unstack(weight_sums), strict=True)]

        return shared_gramian(model, x, losses_of, self._parts)
