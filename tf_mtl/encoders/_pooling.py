"""Pooling of token features."""

import keras


def masked_mean(x: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
    """Return the mean [B, D] of `x` [B, S, D] over positions where `mask` [B, S]; zeros where a row has none.

    `keras.layers.GlobalAveragePooling1D` gives NaN for such a row, an empty text.
    """
    weights = keras.ops.cast(mask, x.dtype)[..., None]
    return keras.ops.sum(x * weights, 1) / keras.ops.maximum(keras.ops.sum(weights, 1), 1)
