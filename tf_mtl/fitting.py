"""What `fit` works with: its streams and its callbacks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.balancing import Balancing
from tf_mtl.stream import Stream


@dataclass(frozen=True)
class Fitting:
    """What `fit` works with.

    Attributes:
        stream: The batches of training.
        validation: Those of validation; None without.
        callbacks: The callbacks given.
    """

    stream: Stream
    validation: Stream | None
    callbacks: list[keras.callbacks.Callback]


def listed(callbacks: Any) -> list[keras.callbacks.Callback]:
    """Return the callbacks that `fit` was given: none, one, a list of them, or Keras' own list."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return list(callbacks.callbacks)
    given = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
    return [callback for callback in given if callback is not None]


def with_epoch_end(callbacks: Any, model: keras.Model, end_epoch: Callable[[], None]) -> Any:
    """Put what is done at the end of an epoch before the callbacks given, which may save the model."""
    first = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: end_epoch())
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks.callbacks.insert(0, first)
        first.set_model(model)
        return callbacks
    return [first, *listed(callbacks)]


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
