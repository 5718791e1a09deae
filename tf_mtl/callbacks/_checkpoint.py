"""Save the complete state of a training run, and resume from it."""

import math
import os
import random
import re
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_mtl._arguments import integer
from tf_mtl._pipeline.data_description import describe, shuffles_without_seed
from tf_mtl._pipeline.feed import Feed
from tf_mtl._pipeline.stream import Position, Stream
from tf_mtl.callbacks._callback_states import CallbackStates
from tf_mtl.callbacks._checkpoint_files import CheckpointFiles
from tf_mtl.callbacks._interruption import Interruption
from tf_mtl.callbacks._resumption import Resumption
from tf_mtl.callbacks._run_lock import run_lock
from tf_mtl.callbacks._run_variables import Arrays, RunVariables
from tf_mtl.callbacks._saved_run import SavedRun
from tf_mtl.distribute._workers import gather_over_workers, worker_index

_ON_CHANGE = ("error", "keep_weights")


class Checkpoint(keras.callbacks.Callback):
    """Saves the state of training, so that `fit` resumes after the process was killed, and ends with the same result.

    A checkpoint holds the weights, the state of the optimizer, balancing method, metrics and random seeds, the position
    in the data, the history, and the state of other callbacks, such as that of `EarlyStopping`. When the same script is
    started again, `fit` resumes from the newest checkpoint of the directory, even mid-epoch, and skips batches already
    seen.

    The final weights are the same only if the data come in the same order in every process: call
    `keras.utils.set_random_seed` or give seeds to shuffles, and keep the `deterministic` order of `map` and
    `interleave`. Skipped batches are read again, except those of completed passes through a finite data set.

    **What may change between processes.** The numbers of replicas and workers, `steps_per_execution`, `epochs`, the
    batch size of arrays, and options that are not state, such as losses and an optimizer's momentum, take effect where
    the run resumes. So do other data, if the checkpoint lies between two passes through them. Anything else is an error
    that lists the differences: another model, optimizer, learning rate or balancing method, other metrics mid-epoch,
    rows mid-epoch, or a missing callback that monitors a value. The contents of rows are not compared. With
    `on_change="keep_weights"` training continues: what differs starts afresh, and weights are matched by name and
    shape. Where the batches differ, the interrupted epoch starts again, with the first batch.

    **Files.** A file is written beside training, and gets its name when all of it is on the disk. Meanwhile, the state
    takes its memory a second time. Damaged files are renamed, and the one before is used. If a file cannot be written,
    as on a full disk, training continues with a warning. A state with NaN or infinity is not saved, also with a
    warning: when such a run is started again, it resumes from the last finite state.

    **Interruptions.** On SIGTERM and Ctrl-C, the callback waits for the end of the current step, saves a checkpoint,
    and lets the process end. Other exceptions lose the steps after the last checkpoint, and a warning says from which
    one the next run continues.

    In the first epoch after a restart, steps before the checkpoint are counted but not executed. Callbacks are still
    called at the beginning and end of these steps.

    With several workers, the directory must be one that all of them share. It needs `keep + 1` times the space of the
    weights and the optimizer's state. One run at a time can use it.

    Args:
        directory: The folder for the checkpoints of one run. Delete it, or choose another, to train from scratch.
        every: How often to save: "100 steps", "1 epoch" or "10 minutes". The end of training is always saved.
        keep: How many checkpoints to keep, at least 2.
        on_change: What to do if the checkpoint is that of a different run: "error" or "keep_weights".

    Raises:
        ValueError: for other values; in `fit`, for data that cannot be read again from a position (generators and
            `PyDataset`s), or a directory with checkpoints of a different run.
        RuntimeError: in `fit`, if another run uses the directory.

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

    def __init__(self, directory: str | os.PathLike, every: str = "1 epoch", keep: int = 3, on_change: str = "error"):
        super().__init__()
        match = re.fullmatch(r"([1-9]\d*) (step|epoch|minute)s?", every) if isinstance(every, str) else None
        if not match:
            raise ValueError(f"`every` must be like '100 steps', '1 epoch' or '10 minutes', received {every!r}.")
        if on_change not in _ON_CHANGE:
            raise ValueError(f"`on_change` must be one of {list(_ON_CHANGE)}, received {on_change!r}.")
        self.directory = directory
        self.keep = integer("keep", keep, 2)  # the newest may be damaged
        self.on_change = on_change
        self._interval, self._unit = int(match[1]), match[2]
        self._feed: Feed | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Load the newest checkpoint, if there is one."""
        feed = self.model._feed
        if not feed.training.resumable:
            raise ValueError(
                "`Checkpoint` needs `x` to be arrays or a tf.data.Dataset, which can be read again from a position. "
                "Pass tf.data.Dataset.from_generator(...), or save with keras.callbacks.ModelCheckpoint."
            )
        if shuffles_without_seed(feed.training):
            warnings.warn(
                "The data are shuffled without a seed, so a process that resumes this run sees them in another order. "
                "Call keras.utils.set_random_seed first, or give `shuffle` a seed.",
                stacklevel=2,
            )
        self._worker, self._workers = worker_index(self.model.distribute_strategy)
        self._gather = gather_over_workers(self.model.distribute_strategy) if self._workers > 1 else np.atleast_2d
        self._files = CheckpointFiles(Path(self.directory).absolute(), self.keep)  # wherever training changes to
        self._interruption = Interruption()
        self._steps = 0
        self._begin(feed)
        self._history = self.model.history
        self._callback_states = CallbackStates(feed.callbacks, self)
        self._variables = RunVariables(self.model, self._gather)
        self._saved_at = time.monotonic()
        self._initial_rates = self._variables.learning_rates
        self._training_metrics: Arrays | None = None
        self._logs: Mapping[str, Any] = {}
        self._resumption: Resumption | None = None
        saved = self._newest()
        if saved is not None:
            epochs = self.params["epochs"]
            self._resume(Resumption(saved, self._variables, self._callback_states, self._stream, epochs))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Restore what Keras and callbacks have reset, or save the last epoch, which all callbacks have seen end."""
        self._begin_epoch(epoch)
        if self._resumption is not None:
            self._restore(self._resumption)
            return
        interrupted = self._workers == 1 and self._interruption.noticed
        if interrupted or (self._unit == "epoch" and self._steps and epoch % self._interval == 0):
            self._save({})
        if interrupted:
            self._end_process()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Save if it is due."""
        if self._stream.steps == self._steps:  # steps of an earlier process, which are only counted
            return
        before, self._steps, self._logs = self._steps, self._stream.steps, logs or {}
        due = self._unit == "minute" and time.monotonic() - self._saved_at >= 60 * self._interval
        interrupted = self._interruption.noticed
        if self._workers > 1:  # all save after the same step
            due, interrupted = np.any(self._gather([due and self._worker == 0, interrupted]), axis=0).tolist()
        if self._unit == "step":
            due = self._steps // self._interval > before // self._interval
        if (due or interrupted) and not self._stopped_by_loss:
            self._save(self._logs)
        if interrupted:
            if self._stopped_by_loss:
                self._warn_of_loss()
            self._end_process()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Keep the metrics of training, which validation resets."""
        if self._feed is not None:
            self._training_metrics = self._variables.metric_values()

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Save if the process must end during validation."""
        if self._feed is not None and self._workers == 1 and self._interruption.noticed:
            self._save(self._logs)
            self._end_process()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Save the end of training."""
        if self._resumption is not None:  # training had ended before
            self._restore(self._resumption)
        elif self._stopped_by_loss:
            self._warn_of_loss()
        else:
            self._stream.begin_epoch()
            self._begin_epoch(self._epoch + 1)
            self._save({})
        self._finish_writing()

    @property
    def _stream(self) -> Stream:
        assert self._feed is not None
        return self._feed.training

    @property
    def _stopped_by_loss(self) -> bool:
        """Whether a callback has ended training at a loss that is NaN or infinite."""
        return self.model.stop_training and not math.isfinite(self._logs.get("loss", 0))

    def _warn_of_loss(self) -> None:
        """Warn that a loss that is NaN or infinite has ended training, which is not saved as its end."""
        self._files.wait()
        warnings.warn(
            f"Training was stopped after step {self._steps}, where the loss was {self._logs['loss']}. That is not "
            f"saved as its end: the next run continues from {self._last_step}.",
            stacklevel=3,
        )

    @property
    def _last_step(self) -> str:
        last = self._files.last
        return "the first step" if last is None else f"the checkpoint of step {last}"

    def _begin(self, feed: Feed) -> None:
        """Take the directory and the signals until `fit` ends."""
        error: Exception | None = None
        if self._worker == 0:
            try:
                feed.at_end.enter_context(run_lock(self._files.directory))
                self._files.clean()
            except (OSError, RuntimeError) as own_error:
                error = own_error
        if self._workers > 1 and self._gather([error is not None]).any():
            error = error or RuntimeError(f"The chief worker cannot use {self.directory}; its error says why.")
        if error is not None:
            raise error
        feed.at_end.push(self._end)
        self._feed, self._validation = feed, feed.validation
        self._interruption.watch()

    def _end(self, exception_type: Any, exception: Any, traceback: Any) -> None:
        """Tidy up when `fit` ends, and tell what an exception loses."""
        self._feed = None
        try:
            self._files.close()
            if exception is not None and self._steps > (self._files.last or 0):
                warnings.warn(
                    f"Training ended with {exception_type.__name__} after step {self._steps}; the next run continues "
                    f"from {self._last_step}.",
                    stacklevel=2,
                )
            if exception is None and self._interruption.noticed:  # after the last step
                self._interruption.act()
        finally:
            self._interruption.unwatch()

    def _end_process(self) -> None:
        self._finish_writing()
        if self.params["verbose"] and self._files.last == self._stream.steps:
            print(f"\nSaved after step {self._files.last}, in {self.directory}. Start the same script again to resume.")
        self._interruption.act()

    def _finish_writing(self) -> None:
        """Wait for the file of the chief worker."""
        self._files.wait()
        if self._workers > 1:
            self._gather([0])

    def _begin_epoch(self, epoch):
        self._validations = 0 if self._validation is None else self._validation.passes_begun
        self._epoch, self._training_metrics = epoch, None

    def _save(self, logs):
        metrics = self._variables.metric_values() if self._training_metrics is None else self._training_metrics
        self._saved_at = time.monotonic()
        if self._worker:
            self._files.last = self._stream.steps
            return
        stream, history, states = self._stream, self._history, self._callback_states.save()
        values = {
            "epoch": self._epoch,
            "epoch_batches": stream.epoch_batches,
            "steps": stream.steps,
            "place": stream.position,
            "data": describe(stream),
            "validations": self._validations,
            "stopped": bool(self.model.stop_training),
            "logs": dict(logs),
            "history": [history.epoch, history.history],
            "companions": states.attributes,
            "random": [random.getstate(), [np.asarray(part).tolist() for part in np.random.get_state()]],
            "sizes": [len(metrics), len(states.arrays)],
            "variables": self._variables.description,
            "learning_rates": self._initial_rates,
        }
        shared = self._variables.shared_values()
        self._files.write(
            stream.steps, values, [*metrics, *states.arrays, *shared], lambda: self._variables.check_finite(shared)
        )

    def _newest(self) -> SavedRun | None:
        """The newest checkpoint that is not damaged."""
        newest = self._files.newest(rename=self._worker == 0)
        if self._workers > 1:
            steps = self._gather([newest.values["steps"] if newest else 0])
            if (steps != steps[0]).any():
                raise RuntimeError(
                    f"The workers see different checkpoints in {self.directory}, of the steps {steps[:, 0].tolist()}. "
                    "`directory` must be a folder that all workers share."
                )
        return None if newest is None else SavedRun.from_content(newest, self._files, self._stream)

    def _resume(self, resumption: Resumption) -> None:
        self._accept(resumption.changes)
        resumption.begin_training()
        if self._validation is not None:
            self._validation.resume(Position(resumption.validations, 0))
        self._resumption, self._steps = resumption, resumption.steps
        self._initial_rates = resumption.learning_rates
        self.model._initial_epoch = first = resumption.first_epoch
        if self.params["verbose"] and first >= self.params["epochs"]:
            print(f"Training had ended after step {self._steps}; its state is loaded from {self.directory}.")
        elif self.params["verbose"]:
            print(f"Resuming after step {self._steps}, in epoch {first + 1}, from {self.directory}.")

    def _accept(self, changes: list[str]) -> None:
        """Raise for changes, or warn where they are meant."""
        if not changes:
            return
        listed = "".join(f"\n- {change}" for change in changes)
        if self.on_change == "error":
            raise ValueError(
                f"The checkpoints in {self.directory} are those of a different run:{listed}\nTo train with its weights "
                "nevertheless, pass `on_change='keep_weights'`. To train from scratch, give `Checkpoint` another "
                "directory, or delete this one."
            )
        warnings.warn(
            f"Training continues with the weights in {self.directory}, although these differ:{listed}", stacklevel=5
        )

    def _restore(self, resumption: Resumption) -> None:
        self._resumption, self.model._initial_epoch = None, None
        resumption.begin_epoch(self._history, self._worker)
