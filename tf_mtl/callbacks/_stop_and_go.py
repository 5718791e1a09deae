"""Tasks that stop when they have converged, and train again when they get worse."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_mtl._arguments import in_range
from tf_mtl.callbacks._monitored import check_monitor
from tf_mtl.callbacks._task_factors import TaskFactorsCallback


class StopAndGo(TaskFactorsCallback):
    """Stops a task when its result no longer improves, and lets it train again when the result gets worse.

    While a task has stopped, its loss has the factor 0: it changes neither the shared variables nor its own, which keep
    their values and momenta exactly, and balancing methods treat it as without labels. Other tasks still change the
    shared variables, and so its result. The task trains again when its result has fallen behind its best by more than
    `drop`. When all tasks have stopped, training ends. Monitor results on validation data with labels for all tasks.

    In the paper, a stopped task is still trained in every fourth step. Here it is not trained at all. The logs show
    `factor/<task>`, 0 or 1, for each epoch. The training step is traced once more for the first callback of this kind.
    `tf_mtl.callbacks.Checkpoint` saves which tasks have stopped.

    Args:
        monitor: `{task: name in the logs}`, such as "val_ner_span_f1"; other tasks always train.
        patience: The number of epochs with validation, but without improvement, after which a task stops; the paper's
            2.
        min_delta: The smallest improvement that counts, as a fraction of the best result; the paper's 0.1%.
        drop: How far below its best, as a fraction of it, a result must fall for the task to train again; the paper's
            0.5%.

    Raises:
        ValueError: for arguments out of range; in `fit`, for unknown tasks and metrics, or validation metrics without
            validation data.

    Example:

    >>> trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    >>> model = mtl.build_model(keras.Input((4,)), trunk, [mtl.tasks.Regression(name) for name in ("a", "b")])
    >>> model.compile(keras.optimizers.SGD(0.0))
    >>> data = np.eye(4), {"a": np.ones(4), "b": np.ones(4)}
    >>> stop = mtl.callbacks.StopAndGo({"a": "val_a_rmse"}, patience=1)
    >>> history = model.fit(*data, validation_data=data, epochs=4, callbacks=[stop], verbose=0)
    >>> history.history["factor/a"]
    [1.0, 1.0, 0.0, 0.0]

    Reference: Lu et al., "12-in-1: multi-task vision and language representation learning", CVPR 2020.
    """

    def __init__(self, monitor: Mapping[str, str], patience: int = 2, min_delta: float = 0.001, drop: float = 0.005):
        super().__init__(check_monitor(monitor), patience, min_delta)
        self.drop = in_range("drop", drop, 0)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop tasks and let them train again; end training when all have stopped."""
        super().on_epoch_end(epoch, logs)
        if not self.factors[0].any():
            self.model.stop_training = True

    def next_factors(self, epoch: int, results: np.ndarray) -> np.ndarray:
        """Return 0 for the tasks that have stopped, and 1 for the others."""
        stopped = self.factors[0] == 0
        best = self.best[0]
        falls_behind = stopped & (results < best - self.drop * np.abs(best))
        monitored = np.isin(self.tasks, list(self.monitor))
        stops = monitored & (self.waits[0] >= self.patience)
        self.waits = [np.where(falls_behind, 0, self.waits[0])]
        return np.where(falls_behind, 1.0, np.where(stopped | stops, 0.0, 1.0))
