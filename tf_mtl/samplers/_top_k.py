"""Random tokens among the k most probable ones."""

import functools
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range, integer
from tf_mtl.layers._decoding import Decoding
from tf_mtl.samplers._base import Sampler, one_text_per_row
from tf_mtl.samplers._random import drawn


@keras.saving.register_keras_serializable("tf_mtl")
class TopK(Sampler):
    """Draws each token among the `k` most probable ones.

    The random numbers depend on `seed` and the position alone, so the same input always gives the same text.

    Args:
        k: The number of tokens.
        temperature: By which logits are divided first: above 1 for more variety, below for less.
        seed: The seed of the random numbers, at least 0.

    Raises:
        ValueError: if a number is out of range.

    Reference: Fan et al., "Hierarchical neural story generation", ACL 2018.

    Example:

    >>> mtl.samplers.TopK(10, temperature=0.8, seed=1).get_config()
    {'k': 10, 'temperature': 0.8, 'seed': 1}
    """

    def __init__(self, k: int, temperature: float = 1.0, seed: int = 0):
        self.k = integer("k", k, 1)
        self.temperature = in_range("temperature", temperature, 0, open_low=True)
        self.seed = integer("seed", seed, 0)

    def __call__(self, decoding: Decoding) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the tokens [B, T] and their log-probabilities [B, T], without temperature."""
        return one_text_per_row(decoding, functools.partial(self._choose, decoding.length))

    def _choose(self, length, logits, position):
        values, tokens = tf.math.top_k(logits, min(self.k, logits.shape[-1]))
        chosen = drawn(tf.nn.softmax(values / self.temperature), self.seed, position, length)
        return tf.gather(tokens, chosen, batch_dims=1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"k": self.k, "temperature": self.temperature, "seed": self.seed}
