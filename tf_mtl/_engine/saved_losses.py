"""The losses in the config of a compiled model, with all their arguments.

The configs of some losses of Keras lack arguments: `Huber`'s has no `delta`. A loaded model would have another loss.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import keras


def serialized_losses(loss: Any) -> Any:
    """Return the `loss` argument of `compile`, serialized: a loss, its name, a function, or a dict or list of them."""
    if isinstance(loss, Mapping):
        return {task: serialized_losses(each) for task, each in loss.items()}
    if isinstance(loss, (list, tuple)):
        return [serialized_losses(each) for each in loss]
    serialized = keras.saving.serialize_keras_object(loss)
    arguments = getattr(loss, "_fn_kwargs", {})
    if isinstance(loss, keras.losses.Loss) and arguments:
        names = inspect.signature(type(loss)).parameters
        config = serialized["config"]
        missing = {name: value for name, value in arguments.items() if name in names and name not in config}
        config |= keras.saving.serialize_keras_object(missing)
    return serialized
