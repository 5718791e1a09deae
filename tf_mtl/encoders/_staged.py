"""What encoders in stages have in common."""

from collections.abc import Iterator
from typing import Any

import keras


class StagedEncoder(keras.layers.Layer):
    """A layer that applies the layers in `stages` in turn; `stages` may contain nested lists of layers.

    Trunks that share an encoder stage by stage read `stages` and do not call this layer.
    """

    stages: list[Any]

    def build(self, input_shape: Any) -> None:
        """Create the layers' variables for inputs of `input_shape`."""
        shape = input_shape
        for layer in flat(self.stages):
            if not layer.built:
                layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def run(self, x: Any) -> Any:
        """Return the last stage's output."""
        for layer in flat(self.stages):
            x = layer(x)
        return x


def flat(stages: list[Any]) -> Iterator[keras.layers.Layer]:
    """Yield the layers of nested lists, in their order."""
    for stage in stages:
        if isinstance(stage, list):
            yield from flat(stage)
        else:
            yield stage
