"""Pooling of token features."""

import keras


def masked_mean(x: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
    """Return the mean [B, D] of `x` [B, S, D] over positions where `mask` [B, S]; zeros where a row has none.

    `keras.layers.GlobalAveragePooling1D` gives NaN for such a row, an empty text.
    """
    weights = keras.ops.cast(mask, x.dtype)[..., None]
    return keras.ops.sum(x * weights, 1) / keras.ops.maximum(keras.ops.sum(weights, 1), 1)


@keras.saving.register_keras_serializable("tf_mtl")
class MaskedMean(keras.layers.Layer):
    """From `sequence` [B, S, D], and the mask [B, S] that is given or attached to it, to `pooled` [B, D]."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs, mask=None):
        """Return the mean over positions."""
        return keras.ops.mean(inputs, 1) if mask is None else masked_mean(inputs, mask)

    def compute_mask(self, inputs, mask=None):
        """Return None: nothing is left to mask."""
