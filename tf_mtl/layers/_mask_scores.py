"""Scores of the tags of a sequence that tell which of its positions are there."""

import keras
import tensorflow as tf

_ABSENT = -1e9


@keras.saving.register_keras_serializable("tf_mtl")
class MaskScores(keras.layers.Layer):
    """Marks masked positions: scores [B, S, C] become -1e9 in all C where the mask is False.

    The scores alone then tell the mask, `MaskScores.valid_mask(scores)`, as decoding needs. No gradient flows to masked
    positions.

    Args:
        **kwargs: See `keras.layers.Layer`; the layer computes in float32 whatever its policy.

    Example:

    >>> scores = mtl.layers.MaskScores()(np.zeros((1, 2, 3)), mask=np.array([[True, False]]))
    >>> mtl.layers.MaskScores.valid_mask(scores).numpy().tolist()
    [[True, False]]
    """

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.supports_masking = True

    def call(self, inputs, mask=None):
        """Return the marked scores; all positions are valid without a mask."""
        if mask is None:
            return inputs
        return keras.ops.where(keras.ops.cast(mask, "bool")[..., None], inputs, _ABSENT)

    def compute_mask(self, inputs, mask=None):
        """Return no mask: the scores say it."""
        return

    def compute_output_shape(self, input_shape):
        return input_shape

    @staticmethod
    def valid_mask(scores: tf.Tensor) -> tf.Tensor:
        """Return which positions of marked scores [B, S, C] are valid, [B, S]."""
        return tf.reduce_max(scores, -1) > _ABSENT / 2
