"""Stop when the tasks together get no better."""

import math
from collections.abc import Iterable, Mapping

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._names import check_names, nearest
from tf_mtl.callbacks._direction import direction


class MultiTaskEarlyStopping(keras.callbacks.Callback):
    r"""Stops when the tasks together get no better, and keeps the best weights, of all tasks and of each.

    With the result $M_t$ of task t's metric after an epoch, and its reference $B_t$, the score of the epoch is the mean

    $$\frac{\sum_t w_t g_t}{\sum_t w_t}, \qquad g_t = \pm \frac{M_t - B_t}{|B_t|},$$

    or the worst $g_t$, the sign being that of `tf_mtl.report.compare`: positive gains are better. It is logged as
    `val_gain`. With single-task results for references its mean is the relative gain per task over them.

    Monitor results of data with labels for every task: where there is none, the logs say 0, of a loss too.
    Epochs without validation do not count. A reference that is not given is the task's result of the first epoch, or
    of the first in which it is neither 0 nor NaN; until then the gain is that of 0 over any reference. A score of NaN
    is no better than another.

    The weights after the best epoch are restored at the end, and those after each task's own best epoch are kept, one
    copy for epochs that coincide: `restore("ner")` gives them to the model. It takes up to T + 1 copies of the weights
    in the host's memory.

    Place it after `tf_mtl.callbacks.Checkpoint`: a run that is taken up again then goes on from its last weights,
    not from its best.

    Args:
        monitor: `{task: name}` of one metric in the logs for each task that counts, such as "val_ner_span_f1".
        reference: `{task: result}` of these metrics, of single-task models say; the first epoch's by default.
        weights: `{task: weight}` in the mean; 1 by default.
        worst: Whether the score is the worst gain instead of the mean.
        lower_is_better: The tasks of whose metric less is better. By default those whose metric's name says so, as
            in `tf_mtl.report.compare`.
        patience: Number of epochs in a row without a better score, after which training stops, at least 1.
        min_delta: By how much a score must exceed the best to be better.
        restore_best_weights: Whether the model gets the weights of the best epoch at the end of training.
        start_from_epoch: The first epoch that can be the best; those before it are logged only.

    Attributes:
        best: The best score.
        best_epoch: Its epoch, from 0; -1 before there is one.

    Raises:
        ValueError: for tasks without an entry, references that are 0, no weight above 0, `weights` beside `worst`;
            in `fit`, for unknown tasks and metrics, or metrics of validation without validation data.

    Example:

    >>> trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    >>> model = mtl.build_model(keras.Input((4,)), trunk, [mtl.tasks.Regression(name) for name in ("a", "b")])
    >>> model.compile(keras.optimizers.SGD(0.0))
    >>> stop = mtl.callbacks.MultiTaskEarlyStopping({"a": "val_a_rmse", "b": "val_b_loss"}, patience=2)
    >>> data = np.eye(4), {"a": np.ones(4), "b": np.ones(4)}
    >>> model.fit(*data, validation_data=data, epochs=9, verbose=0, callbacks=[stop]).history["val_gain"]
    [0.0, 0.0, 0.0]
    """

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
        if not isinstance(monitor, Mapping) or not monitor:
            raise ValueError(f"`monitor` must be a dict {{task: name of a metric}}, received {monitor!r}.")
        if not patience >= 1:
            raise ValueError(f"`patience` must be at least 1 epoch, received {patience!r}.")
        if weights is not None and worst:
            raise ValueError("`weights` are those of a mean, which worst=True does not take: leave one of them out.")
        for argument, given in (("reference", reference), ("weights", weights)):
            if given is not None:
                check_names(argument, given, monitor)
        for task, value in (reference or {}).items():
            if value == 0 or not math.isfinite(value):
                raise ValueError(
                    f"`reference['{task}']` is {value}, so no relative gain can be given. Leave `task` out of "
                    "`monitor`, or take the first epoch's results by leaving out `reference`."
                )
        if weights is not None and not (min(weights.values()) >= 0 and sum(weights.values()) > 0):
            raise ValueError(f"`weights` must be 0 or more, and some above 0, received {dict(weights)}.")
        if lower_is_better is not None:
            lower_is_better = list(lower_is_better)
            check_names("lower_is_better", lower_is_better, monitor, required=False)
        self.monitor = dict(monitor)
        self.reference = reference
        self.weights = weights
        self.worst = worst
        self.lower_is_better = lower_is_better
        self.patience = patience
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
        """Return the epoch after which a task alone was best; -1 before there is one."""
        check_names("task", [task], self.monitor, required=False)
        return int(self._best_epochs[1 + list(self.monitor).index(task)])

    def restore(self, task: str | None = None) -> None:
        """Give the model the weights of the best epoch, of all tasks or of one.

        Raises:
            ValueError: for an unknown task, or before there is a best epoch.
        """
        epoch = self.best_epoch if task is None else self.best_epoch_of(task)
        if epoch < 0:
            raise ValueError("There is no best epoch yet: no epoch has ended with a result that is a number.")
        variables = self.model.weights
        first = [int(kept) for kept in self._kept_epochs].index(epoch) * len(variables)
        with self.model.distribute_strategy.scope():
            for variable, value in zip(variables, self._kept[first:], strict=False):
                variable.assign(value)

    def on_train_begin(self, logs=None):
        """Begin anew, and check the names."""
        check_names("monitor", self.monitor, self.model.task_names, required=False)
        known = list(self.model.get_metrics_result())
        for task, name in self.monitor.items():
            if name.startswith("val_") and self.model._feed.validation is None:
                raise ValueError(f"`monitor['{task}']` is '{name}', but `fit` has no `validation_data`. Pass some.")
            if name.removeprefix("val_") not in known:
                names = [*known, *(f"val_{metric}" for metric in known)]
                raise ValueError(
                    f"`monitor['{task}']` must be a metric of the model, received '{name}'; the metrics are {known}, "
                    f"and with val_ before them those of validation.{nearest(name, names)}"
                )
        self._begin()

    def on_epoch_end(self, epoch, logs=None):
        """Log the score, keep the weights where they are the best, and stop where it is due."""
        if logs is None or not all(name in logs for name in self.monitor.values()):
            return
        results = np.array([logs[name] for name in self.monitor.values()])
        logs["val_gain"] = score = self._score(results)
        if epoch < self.start_from_epoch:
            return
        needed = [self.min_delta, *[0.0] * len(results)]
        for place, value in enumerate([score, *(self._signs * results)]):
            if value - needed[place] > self._bests[place]:
                self._bests[place], self._best_epochs[place] = np.array(value), np.array(epoch)
        self._keep(epoch)
        self.wait = 0 if self.best_epoch == epoch else self.wait + 1
        if self.wait >= self.patience:
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        """Restore the best weights."""
        if self.restore_best_weights and self.best_epoch >= 0:
            self.restore()

    def _begin(self):
        """Forget all epochs; what is remembered are numbers and lists of arrays, which `Checkpoint` saves."""
        given = self.reference or {}
        self.wait = 0
        self._references = [np.array(given.get(task, np.nan), float) for task in self.monitor]
        self._bests = [np.array(-np.inf)] * (len(self.monitor) + 1)  # of the score, and of each task
        self._best_epochs = [np.array(-1)] * (len(self.monitor) + 1)
        self._kept_epochs, self._kept = [], []

    def _score(self, results):
        for place, result in enumerate(results):
            if np.isnan(self._references[place]) and np.isfinite(result) and result != 0:
                self._references[place] = np.array(result)
        references = np.array(self._references)
        unknown = np.where(np.isnan(results), np.nan, -1.0)  # of 0 over any reference above it
        gains = self._signs * np.where(np.isnan(references), unknown, (results - references) / np.abs(references))
        if self.worst:
            return float(np.min(gains))
        return float(np.average(gains, weights=[(self.weights or {}).get(task, 1.0) for task in self.monitor]))

    def _keep(self, epoch):
        """Keep the weights of best epochs, one copy of each."""
        variables, copies = self.model.weights, {}
        for place, kept in enumerate(self._kept_epochs):
            copies[int(kept)] = self._kept[place * len(variables) : (place + 1) * len(variables)]
        wanted = {int(best) for best in self._best_epochs} - {-1}
        if epoch in wanted:
            copies[epoch] = [np.array(tf.convert_to_tensor(v.value)) for v in variables]
        self._kept_epochs = [np.array(kept) for kept in copies if kept in wanted]
        self._kept = [array for kept, arrays in copies.items() if kept in wanted for array in arrays]

    def _sign(self, task, name):
        """1 where more is better, -1 where less is."""
        if self.lower_is_better is not None:
            return -1.0 if task in self.lower_is_better else 1.0
        return direction(name, [task])
