"""Random numbers that depend on a seed and a position alone."""

from typing import Any

import tensorflow as tf


def drawn(logits: tf.Tensor, temperature: float, seed: int, position: Any) -> tf.Tensor:
    """Return a token for each row, drawn from the softmax of logits / temperature, int32 [B].

    The greatest sum of a score and Gumbel noise is such a draw (Maddison et al., "A* sampling", NeurIPS 2014). The noise
    [V] is the same for all rows, so a row's token does not depend on which other rows are beside it.

    Args:
        logits: Scores, float32 [B, V]; minus infinity excludes a token.
        temperature: By which they are divided.
        seed: The seed.
        position: The position of the token.
    """
    uniform = tf.random.experimental.stateless_split([seed, position], 1)[0]
    noise = tf.random.stateless_uniform(tf.shape(logits)[-1:], uniform, 1e-20, 1.0, alg="philox")
    return tf.argmax(logits / temperature - tf.math.log(-tf.math.log(noise)), -1, tf.int32)
