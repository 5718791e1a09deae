"""Learning rates by task that fall when the task's result no longer improves."""

from collections.abc import Mapping

import numpy as np

from tf_mtl._arguments import in_range
from tf_mtl.callbacks._monitored import check_monitor
from tf_mtl.callbacks._task_factors import TaskFactorsCallback


class ReduceTaskLROnPlateau(TaskFactorsCallback):
    """Reduces a task's learning rate when its result no longer improves: `ReduceLROnPlateau` for each task.

    The callback scales the task's loss, before balancing. What that does depends on what follows:

    - With SGD, the steps that the task causes become smaller by the factor, in the shared variables and its own.
    - Adam and other optimizers that divide by the gradients' magnitude undo a lasting factor in the task's own
      variables, after some steps: there, nothing remains of it. In the shared variables, the task's part of the sum
      becomes smaller relative to the other tasks', and the step as a whole does not.
    - Balancing methods that do not depend on the scale of the losses, such as "imtl", "nash_mtl" or "uncertainty"
      after a while, undo it in the shared variables as well. Methods that follow the losses over time, such as "dwa",
      take the smaller loss for progress at first.

    On six tasks of census data, with three seeds, it made no difference with AdamW or SGD. The logs show
    `factor/<task>` for each epoch. The training step is traced once more for the first callback of this kind.
    `tf_mtl.callbacks.Checkpoint` saves the factors. A task is stopped entirely by `tf_mtl.callbacks.StopAndGo`.

    Args:
        monitor: `{task: name in the logs}`, such as "val_ner_span_f1". Other tasks keep their learning rate.
        factor: What the learning rate is multiplied by, in (0, 1); Keras' 0.1 by default.
        patience: The number of epochs without improvement after which it is reduced; Keras' 10 by default.
        min_delta: The smallest improvement that counts, as a fraction of the best result, since results of different
            tasks have different scales; 0.0001 by default.
        min_factor: The smallest product of all reductions; 0 by default.

    Raises:
        ValueError: for arguments out of range; in `fit`, for unknown tasks and metrics, or validation metrics without
            validation data.

    Example:

    >>> trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    >>> model = mtl.build_model(keras.Input((4,)), trunk, [mtl.tasks.Regression(name) for name in ("a", "b")])
    >>> model.compile(keras.optimizers.SGD(0.0))
    >>> data = np.eye(4), {"a": np.ones(4), "b": np.ones(4)}
    >>> reduce = mtl.callbacks.ReduceTaskLROnPlateau({"a": "a_rmse"}, factor=0.5, patience=1)
    >>> history = model.fit(*data, epochs=4, callbacks=[reduce], verbose=0)
    >>> history.history["factor/a"]
    [1.0, 1.0, 0.5, 0.25]
    """

    def __init__(
        self,
        monitor: Mapping[str, str],
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 1e-4,
        min_factor: float = 0.0,
    ):
        super().__init__(check_monitor(monitor), patience, min_delta)
        self.factor = in_range("factor", factor, 0, 1, open_low=True, open_high=True)
        self.min_factor = in_range("min_factor", min_factor, 0, 1)

    def next_factors(self, epoch: int, results: np.ndarray) -> np.ndarray:
        """Reduce the factors of tasks that have waited for long enough."""
        reduced = np.isin(self.tasks, list(self.monitor)) & (self.waits[0] >= self.patience)
        self.waits = [np.where(reduced, 0, self.waits[0])]
        factors = self.factors[0]
        return np.where(reduced, np.minimum(factors, np.maximum(factors * self.factor, self.min_factor)), factors)
