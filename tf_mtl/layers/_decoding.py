"""What samplers are given: a decoder that has read its start token, and how to feed it the next ones."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf


class Decoding(NamedTuple):
    """A decoder of N rows after its first token.

    Attributes:
        logits: The scores of the first tokens to be generated, float32 [N, V].
        state: What the decoder remembers of the tokens it was fed, tensors with N rows.
        context: What else it reads and does not change, tensors with N rows.
        step: From the tokens [N] at a position, the position, `state` and `context` to the logits [N, V] of the next
            tokens and the new state.
        length: The largest number of tokens T of a text.
        end: The token that ends a text.
        padding: The token after the end.
    """

    logits: tf.Tensor
    state: Any
    context: Any
    step: Callable[[tf.Tensor, Any, Any, Any], tuple[tf.Tensor, Any]]
    length: int
    end: int
    padding: int

    @property
    def rows(self) -> Any:
        """The number of rows."""
        known = self.logits.shape[0]
        return tf.shape(self.logits)[0] if known is None else known

    def repeated(self, count: int) -> "Decoding":
        """Return the decoder with each row repeated `count` times, one after the other."""
        state, context = tf.nest.map_structure(lambda x: tf.repeat(x, count, 0), (self.state, self.context))
        return self._replace(logits=tf.repeat(self.logits, count, 0), state=state, context=context)
