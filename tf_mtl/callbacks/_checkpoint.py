"""Save the complete state of a training run, and resume from it."""

import os
import random
import re
import time
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from tf_mtl._arguments import integer
from tf_mtl._pipeline.stream import Position, Stream
from tf_mtl.callbacks._callback_states import CallbackStates, States
from tf_mtl.callbacks._checkpoint_files import CheckpointFiles
from tf_mtl.callbacks._preemption import Preemption
from tf_mtl.callbacks._run_variables import Arrays, RunVariables
from tf_mtl.distribute._workers import gather_over_workers, worker_index


class _Saved(NamedTuple):
    """A checkpoint.

    Attributes:
        values: JSON values by name.
        metrics: The values of the metrics' variables of each worker.
        callbacks: The arrays of other callbacks' states.
        shared: The values of the variables that all workers share.
    """

    values: dict[str, Any]
    metrics: list[Arrays]
    callbacks: list[np.ndarray]
    shared: list[np.ndarray]


class Checkpoint(keras.callbacks.Callback):
    """Saves the state of training, so that `fit` resumes after the process was killed, and ends with the same result.

    A checkpoint holds the weights, the state of the optimizer, balancing method, metrics and random seeds, the position
    in the data, the history, and the state of other callbacks, such as that of `EarlyStopping`. When the same script is
    started again, `fit` resumes from the newest checkpoint of the directory, even mid-epoch, and skips batches already
    seen. A checkpoint gets its file name when all of it is on the disk. Damaged checkpoints are skipped with a warning.
    On SIGTERM, the callback waits for the end of the current step, saves a checkpoint, and lets the process end.

    The final weights are the same only if the data come in the same order in every process: call
    `keras.utils.set_random_seed` or give seeds to shuffles, and keep the `deterministic` order of `map` and
    `interleave`. Skipped batches are read again, except those of completed passes through a finite data set.

    In the first epoch after a restart, steps before the checkpoint are counted but not executed. Callbacks are still
    called at the beginning and end of these steps.

    With several workers, the directory must be one that all of them share. It takes `keep` times the space of the
    weights and the optimizer's state.

    Args:
        directory: The folder for the checkpoints of one run. Delete it, or choose another, to train from scratch.
        every: How often to save: "100 steps", "1 epoch" or "10 minutes". The end of training is always saved.
        keep: How many checkpoints to keep, at least 2.

    Raises:
        ValueError: for other values; in `fit`, for data that cannot be read again from a position (generators and
            `PyDataset`s), or a directory with checkpoints of another model.

    Example:

    >>> import tempfile
    >>> directory = tempfile.mkdtemp()
    >>> def train(epochs):
    ...     keras.utils.set_random_seed(0)
    ...     model = mtl.build_model(
    ...         keras.Input((4,)), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8])), [mtl.tasks.Regression("a")]
    ...     )
    ...     model.compile("adam")
    ...     checkpoint = mtl.callbacks.Checkpoint(directory, every="10 steps")
    ...     return model.fit(np.eye(4), {"a": np.ones(4)}, epochs=epochs, verbose=0, callbacks=[checkpoint])
    >>> len(train(2).epoch), len(train(5).epoch)  # the second resumes after the first
    (2, 5)
    """

    def __init__(self, directory: str | os.PathLike, every: str = "1 epoch", keep: int = 3):
        super().__init__()
        match = re.fullmatch(r"([1-9]\d*) (step|epoch|minute)s?", every) if isinstance(every, str) else None
        if not match:
            raise ValueError(f"`every` must be like '100 steps', '1 epoch' or '10 minutes', received {every!r}.")
        self.directory = directory
        self.keep = integer("keep", keep, 2)  # the newest may be damaged
        self._interval, self._unit = int(match[1]), match[2]

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Load the newest checkpoint, if there is one."""
        stream = self._stream
        if not stream.resumable:
            raise ValueError(
                "`Checkpoint` needs `x` to be arrays or a tf.data.Dataset, which can be read again from a position. "
                "Pass tf.data.Dataset.from_generator(...), or save with keras.callbacks.ModelCheckpoint."
            )
        if stream.shuffles_without_seed:
            warnings.warn(
                "The data are shuffled without a seed, so a process that resumes this run sees them in another order. "
                "Call keras.utils.set_random_seed first, or give `shuffle` a seed.",
                stacklevel=2,
            )
        self._worker, self._workers = worker_index(self.model.distribute_strategy)
        self._gather = gather_over_workers(self.model.distribute_strategy)
        self._files = CheckpointFiles(self.directory, self.keep, self._worker)
        self._preemption = Preemption(lambda: self._fitting)
        self._preemption.watch()
        self._callback_states = CallbackStates(self.model._feed.callbacks, self)
        self._variables = RunVariables(self.model)
        self._saved_at = time.monotonic()
        self._steps, self._calls_to_replay = 0, 0
        self._training_metrics: Arrays | None = None
        self._logs: Mapping[str, Any] | None = None
        self._resumed: _Saved | None = None
        saved = self._newest()
        if saved is not None:
            self._resume(saved)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Restore what Keras and callbacks have reset, or save the last epoch, which all callbacks have seen end."""
        self._begin_epoch(epoch)
        if self._resumed is not None:
            self._restore(self._resumed)
            return
        exiting = self._workers == 1 and self._preemption.noticed
        if exiting or (self._unit == "epoch" and self._steps and epoch % self._interval == 0):
            self._save({})
        if exiting:
            self._preemption.exit()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Save if it is due."""
        self._calls += 1
        if self._calls_to_replay:
            self._calls_to_replay -= 1
            return
        before, self._steps, self._logs = self._steps, self._stream.steps, logs
        due = self._unit == "minute" and time.monotonic() - self._saved_at >= 60 * self._interval
        exiting = self._preemption.noticed
        if self._workers > 1:  # all save after the same step
            due, exiting = np.any(self._gather([due and self._worker == 0, exiting]), axis=0).tolist()
        if self._unit == "step":
            due = self._steps // self._interval > before // self._interval
        if due or exiting:
            self._save(logs)
        if exiting:
            self._preemption.exit()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Keep the metrics of training, which validation resets."""
        if self._fitting:
            self._training_metrics = self._variables.metric_values()

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Save if the process must end during validation."""
        if self._fitting and self._workers == 1 and self._preemption.noticed:
            self._save(self._logs)
            self._preemption.exit()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Save the end of training."""
        if self._resumed is not None:  # training had ended before
            self._restore(self._resumed)
        else:
            self._begin_epoch(self._epoch + 1)
            self._save({})
        self._preemption.unwatch()

    @property
    def _fitting(self) -> bool:
        return self.model._feed is not None

    @property
    def _stream(self) -> Stream:
        return self.model._feed.training

    def _begin_epoch(self, epoch):
        validation = self.model._feed.validation
        self._validations = 0 if validation is None else validation.passes_begun
        self._epoch, self._calls, self._training_metrics = epoch, 0, None

    def _save(self, logs):
        stream, history, states = self._stream, self.model.history, self._callback_states.save()
        metrics = self._variables.metric_values() if self._training_metrics is None else self._training_metrics
        values = {
            "workers": self._workers,
            "epoch": self._epoch,
            "calls": self._calls,
            "steps": stream.steps,
            "place": stream.position,
            "validations": self._validations,
            "stopped": bool(self.model.stop_training),
            "logs": {name: float(value) for name, value in (logs or {}).items()},
            "history": [history.epoch, {name: [float(v) for v in row] for name, row in history.history.items()}],
            "companions": states.attributes,
            "random": [random.getstate(), [np.asarray(part).tolist() for part in np.random.get_state()]],
            "sizes": [len(metrics), len(states.arrays)],
        }
        of_chief = [*states.arrays, *self._variables.shared_values()] if self._worker == 0 else []
        self._files.write(stream.steps, values, [*metrics, *of_chief])
        self._saved_at = time.monotonic()

    def _newest(self) -> _Saved | None:
        """The newest checkpoint that is not damaged."""
        newest = None
        for step in reversed(self._files.steps()):
            try:
                newest = self._read(step)
            except ValueError as error:
                warnings.warn(f"{error}. The checkpoint before it is used.", stacklevel=3)
                continue
            break
        if self._workers > 1:
            steps = self._gather([newest.values["steps"] if newest else 0])
            if (steps != steps[0]).any():
                raise RuntimeError(
                    f"The workers see different checkpoints in {self.directory}, of the steps {steps[:, 0].tolist()}. "
                    "`directory` must be a folder that all workers share."
                )
        return newest

    def _read(self, step: int) -> _Saved:
        values, arrays = self._files.read(step)
        metrics, callbacks = values["sizes"]
        of_others = [self._files.read(step, worker).arrays for worker in range(1, values["workers"])]
        return _Saved(
            values,
            [arrays[:metrics], *of_others],
            arrays[metrics : metrics + callbacks],
            arrays[metrics + callbacks :],
        )

    def _resume(self, saved: _Saved) -> None:
        values = saved.values
        self._variables.restore_shared(saved.shared)
        self._resumed = saved
        self._steps, self._calls_to_replay = values["steps"], values["calls"]
        self._stream.resume(Position(*values["place"]), values["steps"], values["calls"], values["logs"])
        if self.model._feed.validation is not None:
            self.model._feed.validation.resume(Position(values["validations"], 0))
        self.model._initial_epoch = self.params["epochs"] if values["stopped"] else values["epoch"]
        if self.params["verbose"]:
            print(f"Resuming after step {values['steps']}, in epoch {values['epoch'] + 1}, from {self.directory}.")

    def _restore(self, saved: _Saved) -> None:
        """Restore what was reset when training and the epoch began."""
        values = saved.values
        self._resumed, self.model._initial_epoch = None, None
        if values["calls"]:
            self._variables.restore_metrics(saved.metrics, self._worker)
        history = self.model.history
        history.epoch, history.history = values["history"]
        self._callback_states.restore(States(values["companions"], saved.callbacks))
        (version, state, gauss), of_numpy = values["random"]
        random.setstate((version, tuple(state), gauss))
        np.random.set_state(tuple(of_numpy))
