"""Random tokens among the most probable ones that together have the probability p."""

import functools
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range, integer
from tf_mtl.layers._decoding import Decoding
from tf_mtl.samplers._base import Sampler, one_text_per_row
from tf_mtl.samplers._random import drawn


@keras.saving.register_keras_serializable("tf_mtl")
class TopP(Sampler):
    """Draws each token among the fewest most probable ones whose probabilities add up to at least `p`.

    The random numbers depend on `seed` and the position alone, so the same input always gives the same text.

    Args:
        p: The probability, above 0 and at most 1.
        temperature: By which logits are divided first: above 1 for more variety, below for less.
        seed: The seed of the random numbers, at least 0.

    Raises:
        ValueError: if a number is out of range.

    Reference: Holtzman et al., "The curious case of neural text degeneration", ICLR 2020.

    Example:

    >>> mtl.samplers.TopP(0.9).get_config()
    {'p': 0.9, 'temperature': 1.0, 'seed': 0}
    """

    def __init__(self, p: float, temperature: float = 1.0, seed: int = 0):
        self.p = in_range("p", p, 0, 1, open_low=True)
        self.temperature = in_range("temperature", temperature, 0, open_low=True)
        self.seed = integer("seed", seed, 0)

    def __call__(self, decoding: Decoding) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the tokens [B, T] and their log-probabilities [B, T], without temperature."""
        return one_text_per_row(decoding, functools.partial(self._choose, decoding.length))

    def _choose(self, length, logits, position):
        probabilities, tokens = tf.math.top_k(tf.nn.softmax(logits / self.temperature), logits.shape[-1])
        is_needed = tf.cumsum(probabilities, -1, exclusive=True) < self.p
        chosen = drawn(tf.where(is_needed, probabilities, 0.0), self.seed, position, length)
        return tf.gather(tokens, chosen, batch_dims=1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"p": self.p, "temperature": self.temperature, "seed": self.seed}
