"""Hard parameter sharing: one encoder for all tasks."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from tf_mtl.trunks._base import Features, Trunk, as_features
from tf_mtl.trunks._stages import Encoder, run


@keras.saving.register_keras_serializable("tf_mtl")
class HardSharing(Trunk):
    """One encoder, whose features all tasks read (Caruana, "Multitask Learning", 1997).

    Args:
        encoder: Any Keras layer or model from the inputs to features, as one tensor or a dict; a list of layers that
            are applied in turn; or a function of symbolic inputs.

    Raises:
        TypeError: for any other `encoder`.

    Example:

    >>> trunk = mtl.trunks.HardSharing(keras.layers.Dense(8))
    >>> sorted(trunk(keras.Input((4,)), ["a", "b"]))
    ['a', 'b']
    """

    def __init__(self, encoder: Encoder | Callable):
        if not callable(encoder) and not (isinstance(encoder, (list, tuple)) and encoder):
            raise TypeError(
                f"`encoder` must be a Keras layer or model, a list of layers, or a function, received {encoder!r}."
            )
        self.encoder = encoder

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return the same features for every task."""
        features = as_features(run("encoder", self.encoder, inputs))
        return {task: features for task in tasks}
