"""Save the whole state of a training run, and go on from it."""

import os
import random
import re
import time
import warnings

import keras
import numpy as np

from tf_mtl._arguments import integer
from tf_mtl._pipeline.stream import Position
from tf_mtl.callbacks._companions import Companions
from tf_mtl.callbacks._preemption import Preemption
from tf_mtl.callbacks._run_state import RunState
from tf_mtl.callbacks._snapshots import Snapshots
from tf_mtl.distribute._workers import gather_over_workers, worker_index


class Checkpoint(keras.callbacks.Callback):
    """Saves the state of training, so that `fit` goes on by itself where a process was killed, and ends the same.

    A checkpoint holds the weights, the state of optimizer, balancing method, metrics and random seeds, the place in
    the data, the history, and what other callbacks count (as `EarlyStopping` does). The same script, started again,
    takes up the newest checkpoint of the directory, in the midst of an epoch too, and passes over the batches before
    it. A checkpoint takes its name when all of it is on the disk; one that is damaged is skipped with a warning. When
    the process is sent SIGTERM, it saves after the step at hand, and goes.

    For the same weights the data must come in the same order in every process: call `keras.utils.set_random_seed` or
    give seeds to shuffles, and keep `deterministic` order in `map` and `interleave`. Batches before the place are read
    again, those of earlier passes through a data set that ends are not.

    During the first epoch after a restart the steps before the place are counted again, without being taken: callbacks
    see their begin and end.

    With several workers the directory must be one that all of them share. Its space is `keep` times that of the weights
    and the optimizer's state.

    Args:
        directory: Where the checkpoints of one run live. Delete it, or name another, to begin anew.
        every: How often to save: "100 steps", "1 epoch" or "10 minutes". The end of training is always saved.
        keep: How many checkpoints to keep, at least 2.

    Raises:
        ValueError: for other values; in `fit`, for data of which the place cannot be found again (generators and
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
    >>> len(train(2).epoch), len(train(5).epoch)  # the second goes on after the first
    (2, 5)
    """

    def __init__(self, directory: str | os.PathLike, every: str = "1 epoch", keep: int = 3):
        super().__init__()
        found = re.fullmatch(r"([1-9]\d*) (step|epoch|minute)s?", every) if isinstance(every, str) else None
        if not found:
            raise ValueError(f"`every` must be like '100 steps', '1 epoch' or '10 minutes', received {every!r}.")
        self.directory = directory
        self.keep = integer("keep", keep, 2)  # the newest may be damaged
        self._number, self._unit = int(found[1]), found[2]

    def on_train_begin(self, logs=None):
        """Take up the newest checkpoint."""
        stream = self._stream
        if not stream.resumable:
            raise ValueError(
                "`Checkpoint` needs `x` to be arrays or a tf.data.Dataset, which can be read again from a place: "
                "pass tf.data.Dataset.from_generator(...), or save with keras.callbacks.ModelCheckpoint."
            )
        if stream.shuffles_without_seed:
            warnings.warn(
                "The data are shuffled without a seed, so a process that goes on after this one sees them in another "
                "order. Call keras.utils.set_random_seed first, or give `shuffle` a seed.",
                stacklevel=2,
            )
        self._worker, self._workers = worker_index(self.model.distribute_strategy)
        self._from_workers = gather_over_workers(self.model.distribute_strategy)
        self._files = Snapshots(self.directory, self.keep, self._worker)
        self._preemption = Preemption(lambda: self._fitting)
        self._preemption.watch()
        self._companions = Companions(self.model._feed.callbacks, self)
        self._state = RunState(self.model)
        self._saved_at = time.monotonic()
        self._steps, self._to_pass, self._metrics, self._logs, self._resumed = 0, 0, None, None, None
        found = self._newest()
        if found is not None:
            self._take_up(*found)

    def on_epoch_begin(self, epoch, logs=None):
        """Restore what Keras and callbacks have reset; save where an epoch has ended, once all callbacks know of it."""
        self._begin_epoch(epoch)
        if self._resumed is not None:
            self._restore()
            return
        gone = self._workers == 1 and self._preemption.noticed
        if gone or (self._unit == "epoch" and self._steps and epoch % self._number == 0):
            self._save({})
        if gone:
            self._preemption.go()

    def on_train_batch_end(self, batch, logs=None):
        """Save where it is due."""
        self._calls += 1
        if self._to_pass:
            self._to_pass -= 1
            return
        before, self._steps, self._logs = self._steps, self._stream.steps, logs
        late = self._unit == "minute" and time.monotonic() - self._saved_at >= 60 * self._number
        gone = self._preemption.noticed
        if self._workers > 1:  # all save after the same step
            late, gone = self._from_workers([late and self._worker == 0, gone]).any(0)
        if late or gone or (self._unit == "step" and self._steps // self._number > before // self._number):
            self._save(logs)
        if gone:
            self._preemption.go()

    def on_test_begin(self, logs=None):
        """Keep the metrics of training, which validation resets."""
        if self._fitting:
            self._metrics = self._state.metrics()

    def on_test_batch_end(self, batch, logs=None):
        """Save where the process must go during validation."""
        if self._fitting and self._workers == 1 and self._preemption.noticed:
            self._save(self._logs)
            self._preemption.go()

    def on_train_end(self, logs=None):
        """Save the end."""
        if self._resumed is not None:  # training had ended before
            self._restore()
        else:
            self._begin_epoch(self._epoch + 1)
            self._save({})
        self._preemption.unwatch()

    @property
    def _fitting(self):
        return self.model._feed is not None

    @property
    def _stream(self):
        return self.model._feed.training

    def _begin_epoch(self, epoch):
        validation = self.model._feed.validation
        self._validations = 0 if validation is None else validation.passes_begun
        self._epoch, self._calls, self._metrics = epoch, 0, None

    def _save(self, logs):
        stream, history = self._stream, self.model.history
        companions, of_companions = self._companions.state()
        metrics = self._state.metrics() if self._metrics is None else self._metrics
        about = {
            "workers": self._workers,
            "epoch": self._epoch,
            "calls": self._calls,
            "steps": stream.steps,
            "place": stream.position,
            "validations": self._validations,
            "stopped": bool(self.model.stop_training),
            "logs": _floats(logs),
            "history": [history.epoch, {name: [float(v) for v in row] for name, row in history.history.items()}],
            "companions": companions,
            "random": [random.getstate(), [np.asarray(part).tolist() for part in np.random.get_state()]],
            "sizes": [len(metrics), len(of_companions)],
        }
        shared = [*of_companions, *self._state.shared()] if self._worker == 0 else []
        self._files.write(stream.steps, about, [*metrics, *shared])
        self._saved_at = time.monotonic()

    def _newest(self):
        """What the chief wrote and the metrics of all workers, of the newest checkpoint that is whole; or None."""
        found = None
        for step in reversed(self._files.steps()):
            try:
                about, arrays = self._files.read(step)
                others = [self._files.read(step, other)[1] for other in range(1, about["workers"])]
            except ValueError as error:
                warnings.warn(f"{error}. The checkpoint before it is used.", stacklevel=3)
                continue
            found = about, arrays, others
            break
        if self._workers > 1:
            steps = self._from_workers([found[0]["steps"] if found else 0])
            if (steps != steps[0]).any():
                raise RuntimeError(
                    f"The workers see different checkpoints in {self.directory}, of the steps {steps[:, 0].tolist()}: "
                    "`directory` must be a folder that all workers share."
                )
        return found

    def _take_up(self, about, arrays, others):
        metrics, companions = about["sizes"]
        self._state.restore_shared(arrays[metrics + companions :])
        self._resumed = about, [arrays[:metrics], *others], arrays[metrics : metrics + companions]
        self._steps, self._to_pass = about["steps"], about["calls"]
        self._stream.resume(Position(*about["place"]), about["steps"], about["calls"], about["logs"])
        if self.model._feed.validation is not None:
            self.model._feed.validation.resume(Position(about["validations"], 0))
        self.model._initial_epoch = self.params["epochs"] if about["stopped"] else about["epoch"]
        if self.params["verbose"]:
            print(f"Going on after step {about['steps']}, in epoch {about['epoch'] + 1}, from {self.directory}.")

    def _restore(self):
        """Restore what was reset when training and the epoch began."""
        about, metrics, of_companions = self._resumed
        self._resumed, self.model._initial_epoch = None, None
        if about["calls"]:
            self._state.restore_metrics(metrics, self._worker)
        history = self.model.history
        history.epoch, history.history = about["history"]
        self._companions.restore(about["companions"], of_companions)
        (version, state, gauss), of_numpy = about["random"]
        random.setstate((version, tuple(state), gauss))
        np.random.set_state(tuple(of_numpy))


def _floats(logs):
    return {name: float(value) for name, value in (logs or {}).items()}
