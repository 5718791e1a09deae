"""Scores of lists of candidates that encode which candidates are padding."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl.layers._mask_scores import MASKED


@keras.saving.register_keras_serializable("tf_mtl")
class MaskCandidates(keras.layers.Layer):
    """Marks padded candidates: scores [B, N, 1] become [B, N], with -1e9 where the mask [B, N] is False.

    `MaskCandidates.valid_mask(scores)` then recovers the mask from the scores. No gradient flows to padded candidates.

    Args:
        **kwargs: See `keras.layers.Layer`; the layer computes in float32 under any precision policy.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Return the marked scores; without a mask all candidates are valid."""
        scores = keras.ops.squeeze(inputs, -1)
        return scores if mask is None else keras.ops.where(keras.ops.cast(mask, "bool"), scores, MASKED)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """Return no mask: the scores encode it."""

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the marked scores."""
        return tuple(input_shape[:-1])

    @staticmethod
    def valid_mask(scores: tf.Tensor) -> tf.Tensor:
        """Return which candidates are valid, [B, N], from marked scores; a NaN is the score of a valid one."""
        return ~(scores <= MASKED / 2)
