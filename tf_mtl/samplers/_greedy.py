"""The most probable token at each position."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl.layers._decoding import Decoding
from tf_mtl.samplers._base import Sampler, one_text_per_row


@keras.saving.register_keras_serializable("tf_mtl")
class Greedy(Sampler):
    """Takes the most probable token at each position.

    Example:

    >>> mtl.samplers.Greedy().get_config()
    {}
    """

    def __call__(self, decoding: Decoding) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the tokens [B, T] and their log-probabilities [B, T]."""
        return one_text_per_row(decoding, lambda logits, position: tf.argmax(logits, -1, tf.int32))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {}
