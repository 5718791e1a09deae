"""The output of a task that writes texts."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._shapes import with_keras_mask


@keras.saving.register_keras_serializable("tf_mtl")
class TextLogits(keras.layers.Layer):
    """Returns what a decoder gave. On logits, it masks all tokens behind the end of the text.

    Args:
        end: The token that ends a text.
        **kwargs: See `keras.layers.Layer`.
    """

    def __init__(self, end: int, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.end = end
        self.supports_masking = True

    def call(self, x: Any, tokens: Any = None) -> Any:
        """Return logits [B, T, V] for `tokens` [B, T], or generated tokens [B, T, 2] without them."""
        x = tf.identity(x)
        if tokens is None:
            return x
        return with_keras_mask(x, up_to_end(tf.cast(tokens, tf.int32), self.end))

    def compute_mask(self, x: Any, previous_mask: Any = None) -> None:
        """Return no mask but that of `call`."""

    def compute_output_spec(self, x: Any, tokens: Any = None) -> Any:
        """Return what has the decoder's shape."""
        return keras.KerasTensor(x.shape, "float32")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "end": self.end}


def up_to_end(tokens: tf.Tensor, end: int) -> tf.Tensor:
    """Return which of the tokens [B, T] are not behind the first one that ends a text; it is included."""
    return tf.cumsum(tf.cast(tokens == end, tf.int32), 1, exclusive=True) == 0
