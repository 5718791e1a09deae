"""Scores of a sequence's tags that encode which positions are valid."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._shapes import with_keras_mask

MASKED = -1e9


@keras.saving.register_keras_serializable("tf_mtl")
class MaskScores(keras.layers.Layer):
    """Marks masked positions: all C scores [B, S, C] of a position become -1e9 where the mask is False.

    `MaskScores.valid_mask(scores)` then recovers the mask from the scores, which is all that decoding needs. No
    gradient flows to masked positions.

    Args:
        **kwargs: See `keras.layers.Layer`; the layer computes in float32 under any precision policy.

    Example:

    >>> scores = mtl.layers.MaskScores()(np.zeros((1, 2, 3)), mask=np.array([[True, False]]))
    >>> mtl.layers.MaskScores.valid_mask(scores).numpy().tolist()
    [[True, False]]
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Return the marked scores; without a mask all positions are valid."""
        if mask is None:
            return inputs
        return keras.ops.where(self._counted(keras.ops.cast(mask, "bool"))[..., None], inputs, MASKED)

    def _counted(self, is_valid: Any) -> Any:
        """Return which scores count, without their last axis, from the valid positions [B, S]."""
        return is_valid

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """Return no mask: the scores encode it."""

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the scores."""
        return input_shape

    @staticmethod
    def valid_mask(scores: tf.Tensor) -> tf.Tensor:
        """Return the mask of valid positions [B, S], from marked scores [B, S, ...]; those with a NaN are valid."""
        return ~(tf.reduce_max(scores, list(range(2, len(scores.shape)))) <= MASKED / 2)


@keras.saving.register_keras_serializable("tf_mtl")
class AtValidPositions(keras.layers.Layer):
    """Returns a sequence [B, S, D] with zeros and a Keras mask where scores of `MaskScores` mark masked positions.

    Its inputs are the sequence and the scores [B, S, C], as a list.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Return the sequence."""
        sequence, scores = inputs
        valid = MaskScores.valid_mask(scores)
        return with_keras_mask(keras.ops.where(valid[..., None], sequence, 0), valid)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the sequence's shape."""
        return tuple(input_shape[0])
