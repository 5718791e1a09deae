"""Tasks that begin to train later than others."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_mtl._arguments import integer
from tf_mtl._names import check_names
from tf_mtl.callbacks._task_factors import TaskFactorsCallback


class Curriculum(TaskFactorsCallback):
    """Trains some tasks only from an epoch on, or once other tasks have converged.

    Until a task begins, its loss has the factor 0: it changes neither the shared variables nor its own, which keep
    their values and momenta exactly, and balancing methods treat it as without labels. Its results are still computed
    and logged, and `loss` in the logs remains the sum over all tasks. Variables that only resting tasks share may still
    move by momentum and weight decay. The logs show `factor/<task>`, 0 or 1, for each epoch. The training step is
    traced once more for the first callback of this kind. `tf_mtl.callbacks.Checkpoint` saves which tasks have begun.

    Args:
        start: `{task: epoch}`, counted from 0, or `{task: other tasks}`, a name or a list of names, for a task that
            begins in the epoch after all of these have converged. Tasks left out train from the first epoch.
        monitor: `{task: name in the logs}`, such as "val_ner_span_f1", for each task that another one waits for.
        patience: A task has converged when its result has not improved for so many epochs with validation, counted
            from its beginning.
        min_delta: The smallest improvement that counts, as a fraction of the best result so far.

    Raises:
        ValueError: for epochs that are negative, tasks that wait for each other or for a task without `monitor`; in
            `fit`, for unknown tasks and metrics, if no task begins in the first epoch, or for validation metrics
            without validation data.

    Example:

    >>> trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    >>> model = mtl.build_model(keras.Input((4,)), trunk, [mtl.tasks.Regression(name) for name in ("a", "b")])
    >>> model.compile("adam")
    >>> data = np.eye(4), {"a": np.ones(4), "b": np.ones(4)}
    >>> history = model.fit(*data, epochs=3, callbacks=[mtl.callbacks.Curriculum({"b": 2})], verbose=0)
    >>> history.history["factor/b"]
    [0.0, 0.0, 1.0]

    Reference: Bengio et al., "Curriculum learning", ICML 2009; of tasks, Pentina et al., "Curriculum learning of
    multiple tasks", CVPR 2015.
    """

    def __init__(
        self,
        start: Mapping[str, int | str | Sequence[str]],
        monitor: Mapping[str, str] | None = None,
        patience: int = 2,
        min_delta: float = 0.0,
    ):
        super().__init__(monitor or {}, patience, min_delta)
        self.start = dict(start)
        self._begins: tuple[int, ...] = ()  # an epoch that has begun without a step
        self._epochs: dict[str, int] = {}
        self._waits_for: dict[str, list[str]] = {}
        for task, begin in start.items():
            if isinstance(begin, (str, Sequence)):
                self._waits_for[task] = [begin] if isinstance(begin, str) else list(begin)
            else:
                self._epochs[task] = integer(f"start['{task}']", begin, 0)
        for task, others in self._waits_for.items():
            if not others:
                raise ValueError(
                    f"`start['{task}']` must be an epoch or name at least one task, received an empty list."
                )
            check_names(f"start['{task}']", others, self.monitor, required=False)
        self._check_order()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check the names."""
        super().on_train_begin(logs)
        check_names("start", self.start, self.tasks, required=False)
        if not self.factors[0].any():
            raise ValueError(f"`start` must let at least one of the tasks {list(self.tasks)} begin in epoch 0.")

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the epoch."""
        self._begins = (epoch,)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Begin the tasks whose epoch has come, after `Checkpoint` has restored those that had begun."""
        for epoch in self._begins:
            begun = [task in self._epochs and self._epochs[task] <= epoch for task in self.tasks]
            self.factors = [np.maximum(self.factors[0], begun)]
        self._begins = ()
        super().on_train_batch_begin(batch, logs)

    def first_factors(self) -> np.ndarray:
        """Return 1 for the tasks that train from the first epoch, [T]."""
        return np.array([float(self.start.get(task, 0) == 0) for task in self.tasks])

    def next_factors(self, epoch: int, results: np.ndarray) -> np.ndarray:
        """Begin the tasks whose predecessors have converged."""
        converged = {task for task, wait in zip(self.tasks, self.waits[0], strict=True) if wait >= self.patience}
        begun = [task in self._waits_for and converged.issuperset(self._waits_for[task]) for task in self.tasks]
        return np.maximum(self.factors[0], begun)

    def trained(self) -> np.ndarray:
        """Return which tasks have begun, [T]: one that another callback stops has converged, too."""
        return self.factors[0] > 0

    def _check_order(self):
        left = dict(self._waits_for)
        while left:
            free = [task for task, others in left.items() if not left.keys() & set(others)]
            if not free:
                raise ValueError(f"`start` must not let tasks wait for each other, as {list(left)} do.")
            for task in free:
                del left[task]
