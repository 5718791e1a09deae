"""Scores of all tokens from an embedding table."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("tf_mtl")
class TiedLogits(keras.layers.Layer):
    """Scores [B, S, V] of a sequence [B, S, D]: its products with a table [V, D], and a bias; from both, as a list.

    It computes in float32 under any precision policy.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Create the bias."""
        self.bias = self.add_weight(shape=(input_shape[1][0],), initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        """Return the scores."""
        sequence, table = inputs
        return keras.ops.matmul(sequence, keras.ops.transpose(table)) + self.bias

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Return the sequence's mask."""
        return None if previous_mask is None else previous_mask[0]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the scores."""
        sequence, table = input_shape
        return (*sequence[:-1], table[0])
