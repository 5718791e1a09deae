"""A learned mix of an encoder's stages."""

from collections.abc import Sequence
from typing import Any

import keras


@keras.saving.register_keras_serializable("tf_mtl")
class MixStages(keras.layers.Layer):
    """From the outputs of L stages [B, ..., L, D] to their weighted sum [B, ..., D], times a learned factor.

    The weights are a softmax, at first all the same.

    Args:
        stages: The indices of the stages that count; None for all.
        **kwargs: See `keras.layers.Layer`.
    """

    def __init__(self, stages: Sequence[int] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.stages = None if stages is None else list(stages)

    def build(self, input_shape: Any) -> None:
        """Create the weights and the factor."""
        count = input_shape[-2] if self.stages is None else len(self.stages)
        self.logits = self.add_weight(shape=(count,), initializer="zeros", name="logits")
        self.factor = self.add_weight(shape=(), initializer="ones", name="factor")

    def call(self, inputs: Any) -> Any:
        """Return the mix."""
        if self.stages is not None:
            inputs = keras.ops.take(inputs, self.stages, axis=-2)
        weights = self.factor * keras.ops.softmax(self.logits)
        return keras.ops.sum(weights[:, None] * inputs, -2)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the mix."""
        return (*input_shape[:-2], input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stages": self.stages}
