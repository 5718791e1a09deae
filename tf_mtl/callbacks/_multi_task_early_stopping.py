"""Stop when the tasks together stop improving."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl._names import check_names
from tf_mtl.callbacks._monitored import check_monitor, check_monitored
from tf_mtl.report._direction import direction


class MultiTaskEarlyStopping(keras.callbacks.Callback):
    r"""Stops when the tasks together stop improving, and keeps the best weights, of all tasks and of each task.

    With the result $M_t$ of task t's metric after an epoch, and its reference $B_t$, the score of the epoch is the mean

    $$\frac{\sum_t w_t g_t}{\sum_t w_t}, \qquad g_t = \pm \frac{M_t - B_t}{|B_t|},$$

    or the worst $g_t$. The sign is that of `tf_mtl.report.compare`: positive gains are better. The score is logged as
    `val_gain`. If the references are single-task results, the mean is the relative gain per task over them.

    Monitor results on data with labels for every task: without labels, the logs contain 0, for losses too. Epochs
    without validation do not count. A reference that is not given is the task's result in the first epoch in which it
    is neither 0 nor NaN; until then, the gain is that of a result of 0 over any reference. A score of NaN is never an
    improvement.

    At the end of training, the weights after the best epoch are restored. The weights after each task's own best epoch
    are kept, with one copy for epochs that coincide: `restore("ner")` assigns them to the model. This takes up to T + 1
    copies of the weights in the host's memory.

    Place the callback after `tf_mtl.callbacks.Checkpoint`: a run that is continued then resumes from its last weights,
    not from its best.

    Args:
        monitor: `{task: name}` of one metric in the logs for each task that counts, such as "val_ner_span_f1".
        reference: `{task: result}` of these metrics, of single-task models, for example; by default the first epoch's.
        weights: `{task: weight}` in the mean; 1 by default.
        worst: Whether the score is the worst gain instead of the mean.
        lower_is_better: The tasks for whose metric lower is better. By default, the metric's name determines this, as
            in `tf_mtl.report.compare`.
        patience: The number of consecutive epochs without a better score after which training stops, at least 1.
        min_delta: The smallest improvement of the score that counts.
        restore_best_weights: Whether the weights of the best epoch are restored at the end of training.
        start_from_epoch: The first epoch that can be the best; earlier epochs are only logged.

    Attributes:
        best: The best score.
        best_epoch: The epoch of the best score, from 0; -1 before the first.

    Raises:
        ValueError: for tasks without an entry, references that are 0, no weight above 0, or `weights` together with
            `worst`; in `fit`, for unknown tasks and metrics, or validation metrics without validation data.

    Example:

    >>> trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    >>> model = mtl.build_model(keras.Input((4,)), trunk, [mtl.tasks.Regression(name) for name in ("a", "b")])
    >>> model.compile(keras.optimizers.SGD(0.0))
    >>> stop = mtl.callbacks.MultiTaskEarlyStopping({"a": "val_a_rmse", "b": "val_b_loss"}, patience=2)
    >>> data = np.eye(4), {"a": np.ones(4), "b": np.ones(4)}
    >>> model.fit(*data, validation_data=data, epochs=9, verbose=0, callbacks=[stop]).history["val_gain"]
    [0.0, 0.0, 0.0]
    """

    wait: int  # epochs since the best one

    def __init__(
        self,
        monitor: Mapping[str, str],
        reference: Mapping[str, float] | None = None,
        weights: Mapping[str, float] | None = None,
        worst: bool = False,
        lower_is_better: Iterable[str] | None = None,
        patience: int = 3,
        min_delta: float = 0.0,
        restore_best_weights: bool = True,
        start_from_epoch: int = 0,
    ):
        super().__init__()
        monitor = check_monitor(monitor)
        if weights is not None and worst:
            raise ValueError("`weights` are for the mean, not for worst=True. Leave out one of them.")
        for argument, given in (("reference", reference), ("weights", weights)):
            if given is not None:
                check_names(argument, given, monitor)
        for task, value in (reference or {}).items():
            if value == 0 or not math.isfinite(value):
                raise ValueError(
                    f"`reference['{task}']` must be a finite number other than 0, received {value}. Leave '{task}' out "
                    "of `monitor`, or leave out `reference` to use the first epoch's results."
                )
        if weights is not None and not (min(weights.values()) >= 0 and sum(weights.values()) > 0):
            raise ValueError(f"`weights` must be at least 0, and one of them above 0, received {dict(weights)}.")
        if lower_is_better is not None:
            lower_is_better = list(lower_is_better)
            check_names("lower_is_better", lower_is_better, monitor, required=False)
        self.monitor = monitor
        self.reference = reference
        self.weights = weights
        self.worst = worst
        self.lower_is_better = lower_is_better
        self.patience = integer("patience", patience, 1)
        self.min_delta = min_delta
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self._signs = np.array([self._sign(task, name) for task, name in self.monitor.items()])
        self._begin()

    @property
    def best(self) -> float:
        return float(self._bests[0])

    @property
    def best_epoch(self) -> int:
        return int(self._best_epochs[0])

    def best_epoch_of(self, task: str) -> int:
        """Return the epoch after which a task's own result was best; -1 before the first."""
        check_names("task", [task], self.monitor, required=False)
        return int(self._best_epochs[1 + list(self.monitor).index(task)])

    def restore(self, task: str | None = None) -> None:
        """Restore the weights of the best epoch, of all tasks together or of one.

        Args:
            task: The task; None for all tasks together.

        Raises:
            ValueError: for an unknown task, or if there is no best epoch yet.
        """
        epoch = self.best_epoch if task is None else self.best_epoch_of(task)
        if epoch < 0:
            raise ValueError("There is no best epoch yet: no epoch has ended with a result that is a number.")
        variables = self.model.weights
        first = [int(kept_epoch) for kept_epoch in self._kept_epochs].index(epoch) * len(variables)
        with self.model.distribute_strategy.scope():
            for variable, value in zip(variables, self._kept[first:], strict=False):
                variable.assign(value)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Reset the callback, and check the names."""
        check_monitored(self.monitor, self.model)
        self._begin()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log the score, keep the weights if they are the best, and stop when `patience` is exhausted."""
        if logs is None or not all(name in logs for name in self.monitor.values()):
            return
        results = np.array([logs[name] for name in self.monitor.values()])
        logs["val_gain"] = score = self._score(results)
        if epoch < self.start_from_epoch:
            return
        min_deltas = [self.min_delta, *[0.0] * len(results)]
        for index, value in enumerate([score, *(self._signs * results)]):
            if value - min_deltas[index] > self._bests[index]:
                self._bests[index], self._best_epochs[index] = np.array(value), np.array(epoch)
        self._keep(epoch)
        self.wait = 0 if self.best_epoch == epoch else self.wait + 1
        if self.wait >= self.patience:
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Restore the best weights."""
        if self.restore_best_weights and self.best_epoch >= 0:
            self.restore()

    def _begin(self):
        """Reset the state, which consists of numbers and lists of arrays so that `Checkpoint` saves it."""
        given = self.reference or {}
        self.wait = 0
        self._references = [np.array(given.get(task, np.nan), float) for task in self.monitor]
        self._bests: list[np.ndarray] = [np.array(-np.inf)] * (len(self.monitor) + 1)  # of the score, and of each task
        self._best_epochs: list[np.ndarray] = [np.array(-1)] * (len(self.monitor) + 1)
        self._kept_epochs: list[np.ndarray] = []
        self._kept: list[np.ndarray] = []

    def _score(self, results):
        for index, result in enumerate(results):
            if np.isnan(self._references[index]) and np.isfinite(result) and result != 0:
                self._references[index] = np.array(result)
        references = np.array(self._references)
        without_reference = np.where(np.isnan(results), np.nan, -1.0)  # a result of 0 over any positive reference
        relative = (results - references) / np.abs(references)
        gains = self._signs * np.where(np.isnan(references), without_reference, relative)
        if self.worst:
            return float(np.min(gains))
        return float(np.average(gains, weights=[(self.weights or {}).get(task, 1.0) for task in self.monitor]))

    def _keep(self, epoch):
        """Keep one copy of the weights of each best epoch."""
        variables, copies = self.model.weights, {}
        for index, kept_epoch in enumerate(self._kept_epochs):
            copies[int(kept_epoch)] = self._kept[index * len(variables) : (index + 1) * len(variables)]
        best_epochs = {int(best) for best in self._best_epochs} - {-1}
        if epoch in best_epochs:
            copies[epoch] = [np.array(tf.convert_to_tensor(v.value)) for v in variables]
        copies = {best: arrays for best, arrays in copies.items() if best in best_epochs}
        self._kept_epochs = [np.array(best) for best in copies]
        self._kept = [array for arrays in copies.values() for array in arrays]

    def _sign(self, task, name):
        """1 if higher is better, -1 if lower is."""
        if self.lower_is_better is not None:
            return -1.0 if task in self.lower_is_better else 1.0
        return direction(name, [task])
