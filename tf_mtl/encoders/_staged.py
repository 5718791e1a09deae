"""What encoders in stages have in common."""

from typing import Any

import keras


class StagedEncoder(keras.layers.Layer):
    """A layer that applies the layers in `stages`, a list of lists of layers, in turn.

    Trunks that share an encoder stage by stage take the lists and leave this layer out.
    """

    def build(self, input_shape):
        """Make the layers' variables for inputs of `input_shape`."""
        shape = input_shape
        for layer in _flat(self.stages):
            if not layer.built:
                layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def run(self, x: Any) -> Any:
        """Return the last stage's output."""
        for layer in _flat(self.stages):
            x = layer(x)
        return x


def _flat(stages):
    for stage in stages:
        if isinstance(stage, list):
            yield from _flat(stage)
        else:
            yield stage
