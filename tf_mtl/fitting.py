"""What `fit` works with: its streams and its callbacks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.balancing import Balancing
from tf_mtl.data.mixture import Mixture
from tf_mtl.stream import Stream


@dataclass(frozen=True)
class Fitting:
    """What `fit` works with.

    Attributes:
        stream: The batches of training.
        validation: Those of validation; None without.
        callbacks: The callbacks given.
        mixture: The mixture that is trained on; None for other data.
    """

    stream: Stream
    validation: Stream | None
    callbacks: list[keras.callbacks.Callback]
    mixture: Mixture | None


def listed(callbacks: Any) -> list[keras.callbacks.Callback]:
    """Return the callbacks that `fit` was given: none, one, a list of them, or Keras' own list."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return list(callbacks.callbacks)
    given = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
    return [callback for callback in given if callback is not None]


def with_epoch_end(
    callbacks: Any, model: keras.Model, end_epoch: Callable[[], None], mixture: Mixture | None = None
) -> Any:
    """Put what is done at the end of an epoch before the callbacks given, which may save the model."""
    first = [keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: end_epoch())]
    if mixture is not None:
        first.append(_Shares(mixture))
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks.callbacks[:0] = first
        for callback in first:
            callback.set_model(model)
        return callbacks
    return [*first, *listed(callbacks)]


class _Shares(keras.callbacks.Callback):
    """Logs the shares of rows that a mixture drew from its sources in the epoch."""

    def __init__(self, mixture):
        super().__init__()
        self.mixture = mixture

    def on_epoch_begin(self, epoch, logs=None):
        stream = self.model.fitting.stream  # which has drawn some of the epoch, where it goes on with a run
        self.first = (stream.steps - (stream.replays > 0)) // stream.epoch * stream.epoch

    def on_epoch_end(self, epoch, logs=None):
        shares = self.mixture.shares(self.first, self.model.fitting.stream.steps - self.first)
        logs.update({f"share_{source}": share for source, share in shares.items()})


def one_epoch(argument: str, data: Any, steps: int | None, remedy: str) -> Any:
    """Return the data, of a mixture one epoch where no number of steps is given.

    Raises:
        ValueError: for other data without end.
    """
    check_ends(argument, data, steps, remedy)
    return data.take(len(data)) if isinstance(data, Mixture) and steps is None else data


def check_ends(argument: str, data: Any, steps: int | None, remedy: str) -> None:
    """Raise for a data set without end that comes without a number of steps, unless it is a mixture, which knows it."""
    if steps is not None or isinstance(data, Mixture) or not isinstance(data, tf.data.Dataset):
        return
    if int(data.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            f"`{argument}` is a data set without end, received without a number of steps. Give `{remedy}`, or "
            f"`{argument}.take(steps)`; a mixture knows its epochs unless a transformation comes after `mix`."
        )


def paired(x: Any, balancing: Balancing, check: Callable[[Any], Any]) -> tf.data.Dataset:
    """Pair the batches of a data set with those that a balancing method learns from.

    Raises:
        ValueError: if the method has no validation batches, or `x` is no data set.
    """
    name = type(balancing).__name__
    if balancing.validation is None:
        raise ValueError(
            f"{name} learns from validation batches: pass {name}(validation=dataset), or set "
            "model.balancing.validation on a loaded model."
        )
    if not isinstance(x, tf.data.Dataset):
        raise ValueError(f"{name} needs `x` to be a tf.data.Dataset of batches, received {type(x).__name__}.")
    return tf.data.Dataset.zip(x, check(balancing.validation).repeat())


def triple(data: Any) -> tuple:
    """Return labelled data as inputs, labels and weights, what is not there being None."""
    if isinstance(data, (tuple, list)):
        return keras.utils.unpack_x_y_sample_weight(data)
    return data, None, None
