"""The mean over a sequence's unmasked positions."""

from typing import Any

import keras


def masked_mean(x: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
    """Return the mean [B, D] of `x` [B, S, D] over positions where `mask` [B, S] is True; zeros if none is."""
    weights = keras.ops.cast(mask, x.dtype)[..., None]
    return keras.ops.sum(x * weights, 1) / keras.ops.maximum(keras.ops.sum(weights, 1), 1)


@keras.saving.register_keras_serializable("tf_mtl")
class MaskedMean(keras.layers.Layer):
    """Averages a sequence [B, S, D] over its unmasked positions, to [B, D].

    The mask [B, S] is the one passed to the call or, by default, the one that Keras has attached to the sequence, as
    `keras.layers.Embedding(mask_zero=True)` does. Without any mask the layer averages over all positions.

    A row whose positions are all masked, such as an empty text, gives zeros. `keras.layers.GlobalAveragePooling1D`
    gives NaN for such a row.

    Args:
        **kwargs: See `keras.layers.Layer`.

    Example:

    >>> sequence = np.array([[[1.0], [3.0], [8.0]], [[5.0], [6.0], [7.0]]])
    >>> mask = np.array([[True, True, False], [False, False, False]])
    >>> mtl.layers.MaskedMean()(sequence, mask=mask).numpy().tolist()
    [[2.0], [0.0]]
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Return the mean over positions."""
        return keras.ops.mean(inputs, 1) if mask is None else masked_mean(inputs, mask)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """Return no mask: the mean has no positions."""
