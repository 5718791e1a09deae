"""What callbacks that follow each task's result, and set factors of the tasks' losses, have in common."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tf_mtl._arguments import in_range, integer
from tf_mtl._names import check_names
from tf_mtl.callbacks._monitored import check_monitored, improves
from tf_mtl.report._direction import direction


class TaskFactorsCallback(keras.callbacks.Callback):
    """Follows a result of each of some tasks, and sets the factors of the tasks' losses after each epoch.

    Subclasses define `next_factors`.

    Args:
        monitor: `{task: name in the logs}`.
        patience: The number of epochs without improvement after which a task counts as converged.
        min_delta: The smallest improvement that counts, as a fraction of the best result.

    Raises:
        ValueError: if the arguments are wrong.
    """

    # Lists of arrays by task, since `Checkpoint` saves these.
    factors: list[np.ndarray]
    best: list[np.ndarray]
    waits: list[np.ndarray]

    def __init__(self, monitor: Mapping[str, str], patience: int, min_delta: float):
        super().__init__()
        self.monitor = dict(monitor)
        self.patience = integer("patience", patience, 1)
        self.min_delta = in_range("min_delta", min_delta, 0)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check the names, and begin with the first factors."""
        check_monitored(self.monitor, self.model)
        self._shared_factors = self.model._task_factors()
        self.tasks = self._shared_factors.tasks
        check_names("monitor", self.monitor, self.tasks, required=False)
        self._signs = {task: direction(name, self.tasks) for task, name in self.monitor.items()}
        self.factors = [self.first_factors()]
        self.best = [np.full(len(self.tasks), -np.inf)]
        self.waits = [np.zeros(len(self.tasks))]
        self._in_force: list[np.ndarray] | None = None

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Put the factors into force, at first and after `Checkpoint` has restored them."""
        if self._in_force is not self.factors:
            self._in_force = self.factors
            self._shared_factors.set(id(self), self.factors[0])

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log the factors of the epoch, and set those of the next."""
        logs = {} if logs is None else logs
        logs.update({f"factor/{task}": factor for task, factor in self._shared_factors.by_task().items()})
        results = np.full(len(self.tasks), np.nan)
        for task, name in self.monitor.items():
            if name not in logs:
                return  # an epoch without validation
            results[self.tasks.index(task)] = self._signs[task] * logs[name]
        trained, better = self.trained(), improves(results, self.best[0], self.min_delta)
        self.waits = [np.where(trained, np.where(better, 0, self.waits[0] + 1), self.waits[0])]
        self.best = [np.where(trained & better, results, self.best[0])]
        self.factors = [self.next_factors(epoch, results)]

    def trained(self) -> np.ndarray:
        """Return which tasks the epoch that has ended counts for, [T]: those that no callback had stopped."""
        return np.array(list(self._shared_factors.by_task().values())) > 0

    def first_factors(self) -> np.ndarray:
        """Return the factors of the first epoch, [T]."""
        return np.ones(len(self.tasks))

    @abstractmethod
    def next_factors(self, epoch: int, results: np.ndarray) -> np.ndarray:
        """Return the factors of the next epoch, [T].

        Args:
            epoch: The epoch that has ended.
            results: Its results, [T], with the sign by which higher is better; NaN for tasks that are not monitored.
        """
