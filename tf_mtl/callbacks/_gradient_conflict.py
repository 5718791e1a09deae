"""Log whether the tasks' gradients conflict."""

from itertools import combinations
from typing import Any

import keras
import numpy as np


class GradientConflict(keras.callbacks.Callback):
    r"""Logs how much the tasks' gradients of the shared variables conflict, at the end of each epoch.

    `conflict` is the fraction of pairs of tasks with $\cos(g_i, g_j) < 0$ (Yu et al., "Gradient Surgery for Multi-Task
    Learning", 2020), and `cosine/<a>/<b>` is the cosine of each pair. They are measured on one fixed batch, in
    inference mode and without changing the model, so they are comparable between all balancing methods, including those
    that do not use gradients. For methods that do, they replace the means over the training steps that `fit` logs under
    the same names. The cost is one forward pass and T backward passes per epoch.

    Args:
        batch: (x, {task: y}) or (x, {task: y}, {task: weight}), of a few hundred rows, for example. The cosine of a
            task without labels in the batch is NaN, and does not count in `conflict`.

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

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the cosines and the conflict to the logs."""
        if logs is None:
            return
        cosines = self.model.gradient_cosines(self.batch)
        pairs = {
            f"cosine/{a}/{b}": float(cosines[i, j])
            for (i, a), (j, b) in combinations(enumerate(self.model.task_names), 2)
        }
        logs.update(pairs)
        measured = [cosine for cosine in pairs.values() if not np.isnan(cosine)]
        logs["conflict"] = float(np.mean([cosine < 0 for cosine in measured])) if measured else float("nan")
