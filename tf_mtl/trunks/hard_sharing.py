"""Hard parameter sharing: one encoder for all tasks."""

from collections.abc import Callable, Sequence
from typing import Any

from tf_mtl.trunks._base import Features, Trunk, as_features


class HardSharing(Trunk):
    """One encoder, whose features all tasks read (Caruana, "Multitask Learning", 1997).

    Args:
        encoder: Any Keras layer or model from the inputs to features: a dict of them, or one tensor.

    Raises:
        TypeError: if `encoder` cannot be called.

    Example:

    >>> trunk = mtl.trunks.HardSharing(keras.layers.Dense(8))
    >>> sorted(trunk(keras.Input((4,)), ["a", "b"]))
    ['a', 'b']
    """

    def __init__(self, encoder: Callable):
        if not callable(encoder):
            raise TypeError(f"`encoder` must be a Keras layer or model, received {encoder!r}.")
        self.encoder = encoder

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return the same features for every task."""
        features = as_features(self.encoder(inputs))
        return {task: features for task in tasks}
