"""Continue a training run from a checkpoint."""

import random
import warnings
from typing import Any

import numpy as np

from tf_mtl._pipeline.data_description import shuffled_otherwise
from tf_mtl._pipeline.stream import Position, Stream
from tf_mtl.callbacks._callback_states import CallbackStates
from tf_mtl.callbacks._run_variables import RunVariables
from tf_mtl.callbacks._saved_run import SavedRun


class Resumption:
    """What a run takes from a checkpoint: some of it when training begins, the rest when its first epoch does.

    Keras and callbacks reset their state in between.

    Args:
        saved: The checkpoint.
        variables: The variables of the run.
        callbacks: The states of the run's callbacks.
        stream: The batches of the run.
        epochs: The number of epochs to train.
    """

    def __init__(
        self, saved: SavedRun, variables: RunVariables, callbacks: CallbackStates, stream: Stream, epochs: int
    ):
        self._saved, self._variables, self._callbacks, self._stream = saved, variables, callbacks, stream
        self._epochs = epochs
        self._changed_data, self._changed_rates = saved.changed_data(stream), saved.changed_rates(variables)
        self._epoch_batches = 0 if self._changed_data else saved.values["epoch_batches"]

    @property
    def changes(self) -> list[str]:
        """How the run differs from the one that saved the checkpoint; what is listed starts afresh."""
        state = self._saved.changed_state(self._variables, self._callbacks)
        return [*state, *self._changed_rates, *self._changed_data]

    @property
    def steps(self) -> int:
        """The number of steps taken."""
        return self._saved.values["steps"]

    @property
    def validations(self) -> int:
        """The number of passes through the validation data."""
        return self._saved.values["validations"]

    @property
    def first_epoch(self) -> int:
        """The epoch to continue with, counted from 0; the number of epochs if training has ended."""
        values = self._saved.values
        return self._epochs if values["stopped"] else values["epoch"]

    @property
    def learning_rates(self) -> list[float]:
        """The learning rates that the run began with."""
        saved = self._saved.values["learning_rates"]
        return self._variables.learning_rates if self._changed_rates or saved is None else saved

    def begin_training(self) -> None:
        """Restore the variables and the position in the data."""
        saved, values = self._saved, self._saved.values
        self._variables.restore_shared(saved.shared, values["variables"])
        if self._changed_rates:
            self._variables.set_learning_rates()
        position, stream = saved.position, self._stream
        if self._changed_data:
            position = Position(position.passes if stream.size >= 0 else 0, 0)
        stream.resume(position, self.steps, self._epoch_batches, values["logs"])
        for message in self._warnings():
            warnings.warn(message, stacklevel=5)

    def begin_epoch(self, history: Any, worker: int) -> None:
        """Restore what was reset when training and its first epoch began.

        Args:
            history: The Keras `History` of the run.
            worker: The index of this worker.
        """
        saved, values = self._saved, self._saved.values
        if self._epoch_batches:
            self._variables.restore_metrics(saved.metrics, worker, values["variables"])
        history.epoch, history.history = values["history"]
        self._callbacks.restore(saved.callbacks, with_arrays=saved.has_weights_of(self._variables))
        (version, state, gauss), of_numpy = values["random"]
        random.setstate((version, tuple(state), gauss))
        np.random.set_state(tuple(of_numpy))

    def _warnings(self):
        saved, values = self._saved, self._saved.values
        data, epoch = values["data"], values["epoch"]
        if not self._changed_data and data is not None and shuffled_otherwise(data, saved.position, self._stream):
            yield (
                "The data are shuffled with other seeds or buffers than before, and the checkpoint lies within epoch "
                f"{epoch + 1}: in the rest of this epoch, some rows are seen twice, and others not."
            )
        if epoch > self._epochs or (epoch == self._epochs and self._epoch_batches):
            yield (
                f"The checkpoint of step {self.steps} lies beyond `epochs={self._epochs}`. The model gets its weights, "
                "which were trained for longer. To train for less, give `Checkpoint` another directory."
            )
        metrics = saved.changed_metrics(self._variables)
        if metrics and self._epoch_batches:
            yield (
                f"In the logs of epoch {epoch + 1}, new metrics count only what comes after step {self.steps}: "
                f"{'; '.join(metrics)}."
            )
