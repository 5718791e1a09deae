"""What samplers are given: a decoder that has read its start token, and how to feed it the next ones."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf


class Decoding(NamedTuple):
    """A decoder of N rows after its first token.

    Rows may be given tokens that their texts continue, in different numbers. Those with more of them begin to write
    some steps later; until then, the decoder ignores the tokens that it is fed.

    Attributes:
        logits: The scores of the first tokens to be generated, float32 [N, V].
        state: What the decoder remembers of the tokens it was fed, tensors with N rows.
        context: What else it reads and does not change, tensors with N rows.
        step: From the tokens [N] at a position, the position, `state` and `context` to the logits [N, V] of the next
            tokens and the new state.
        length: The largest number of tokens T of a text.
        end: The token that ends a text.
        padding: The token after the end.
        delay: The number of steps after which each row begins to write, int32 [N].
    """

    logits: tf.Tensor
    state: Any
    context: Any
    step: Callable[[tf.Tensor, Any, Any, Any], tuple[tf.Tensor, Any]]
    length: int
    end: int
    padding: int
    delay: tf.Tensor

    @property
    def rows(self) -> Any:
        """The number of rows."""
        known = self.logits.shape[0]
        return tf.shape(self.logits)[0] if known is None else known

    @property
    def steps(self) -> tf.Tensor:
        """The largest number of steps until all texts are written."""
        return self.length + tf.reduce_max(self.delay)

    def repeated(self, count: int) -> "Decoding":
        """Return the decoder with each row repeated `count` times, one after the other."""
        parts = self.logits, self.state, self.context, self.delay
        logits, state, context, delay = tf.nest.map_structure(lambda x: tf.repeat(x, count, 0), parts)
        return self._replace(logits=logits, state=state, context=context, delay=delay)
