"""Callbacks that log how the tasks are balanced and whether they conflict."""

from itertools import combinations
from typing import Any

import keras
import numpy as np

from tf_mtl.balancing import Aggregator


class TaskWeights(keras.callbacks.Callback):
    """Logs `weight/<task>`, the mean over the epoch's steps of the weights that balancing gave the tasks.

    Put it before callbacks that read the logs (`TensorBoard`, `CSVLogger`). Methods that give a direction instead of
    weights log nothing.

    Example:

    >>> model = mtl.build_model(
    ...     keras.Input((4,)), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8])),
    ...     [mtl.tasks.Regression("a"), mtl.tasks.Regression("b")],
    ... )
    >>> model.compile("sgd", balancing=mtl.balancing.Fixed({"a": 1.0, "b": 0.25}))
    >>> data = tf.data.Dataset.from_tensors((np.ones((4, 4)), {"a": np.zeros(4), "b": np.ones(4)}))
    >>> history = model.fit(data, verbose=0, callbacks=[mtl.callbacks.TaskWeights()])
    >>> history.history["weight/a"], history.history["weight/b"]
    ([1.0], [0.25])
    """

    def on_epoch_begin(self, epoch, logs=None):
        """Forget the last epoch's weights."""
        self.model.task_weights.reset_state()

    def on_epoch_end(self, epoch, logs=None):
        """Add the epoch's mean weights to the logs."""
        if logs is not None and not isinstance(self.model.balancing, Aggregator):
            logs.update({name: float(weight) for name, weight in self.model.task_weights.result().items()})


class GradientConflict(keras.callbacks.Callback):
    r"""Logs how far the tasks' gradients of the shared variables oppose each other, at the end of each epoch.

    `conflict` is the share of pairs of tasks with $\cos(g_i, g_j) < 0$ (Yu et al., "Gradient Surgery for Multi-Task
    Learning", 2020), `cosine/<a>/<b>` the cosine of each pair. They are measured on one batch, kept for the purpose,
    in inference mode and without changing the model, so they compare any balancing methods. It costs one forward
    and T backward passes an epoch.

    Args:
        batch: (x, {task: y}) or (x, {task: y}, {task: weight}) to measure on, of a few hundred rows, say. The cosine
            of a task that has no label in it is NaN, and does not count in `conflict`.

    Example:

    >>> model = mtl.build_model(
    ...     keras.Input((4,)), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8])),
    ...     [mtl.tasks.Regression("a"), mtl.tasks.Regression("b")],
    ... )
    >>> model.compile("sgd")
    >>> batch = np.ones((4, 4)), {"a": np.zeros(4), "b": np.ones(4)}
    >>> history = model.fit(*batch, verbose=0, callbacks=[mtl.callbacks.GradientConflict(batch)])
    >>> sorted(name for name in history.history if name.startswith(("cos", "con")))
    ['conflict', 'cosine/a/b']
    """

    def __init__(self, batch: Any):
        super().__init__()
        self.batch = batch

    def on_epoch_end(self, epoch, logs=None):
        """Add the cosines and the conflict to the logs."""
        if logs is None:
            return
        cosines = self.model.gradient_cosines(self.batch)
        pairs = {
            f"cosine/{a}/{b}": float(cosines[i, j])
            for (i, a), (j, b) in combinations(enumerate(self.model.task_names), 2)
        }
        logs.update(pairs)
        known = [cosine for cosine in pairs.values() if not np.isnan(cosine)]
        logs["conflict"] = float(np.mean([cosine < 0 for cosine in known])) if known else float("nan")
