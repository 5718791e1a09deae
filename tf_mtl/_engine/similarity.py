"""How far the tasks' gradients agree."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._engine.objectives import Objectives
from tf_mtl._engine.parameter_gradients import shared_gramian
from tf_mtl._graph.partition import Partition


def gradient_cosines(model: keras.Model, objectives: Objectives, parts: Partition, batch: Any) -> np.ndarray:
    """Return the cosines [T, T] between the tasks' gradients of the shared variables on a batch, in inference mode."""
    parts.check_shared("gradient_cosines")
    x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
    labels = objectives.unpack_labels(y, weight)

    @tf.function
    def gramian_on(x):
        def losses_of(outputs):
            loss_sums, weight_sums = objectives.loss_sums(labels, outputs)
            return [tf.math.divide_no_nan(*pair) for pair in zip(loss_sums, tf.unstack(weight_sums), strict=True)]

        return shared_gramian(model, x, losses_of, parts)

    gramian = gramian_on(x).numpy().astype("float64")
    norms = np.sqrt(np.diag(gramian))
    norms[norms == 0] = np.nan
    return gramian / np.outer(norms, norms)
