"""The base class of samplers, and their loop for one text per row."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self

import tensorflow as tf

from tf_mtl.layers._decoding import Decoding


class Sampler(ABC):
    """Chooses the tokens of generated texts.

    A row's text depends on nothing but its own inputs: neither on other rows of its batch nor on earlier calls. So
    `predict`, `answer` and an export, which servers give other batches, agree.
    """

    @abstractmethod
    def __call__(self, decoding: Decoding) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the tokens of the texts, int32 [B, T], and their log-probabilities [B, T].

        It stops when all texts have ended, at `decoding.length` tokens at the latest. After a text's end stand padding
        and log-probabilities of 0. It must consist of TensorFlow ops.

        Args:
            decoding: A decoder that has read its start token.
        """

    @abstractmethod
    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return a sampler from `get_config`'s dict."""
        return cls(**config)


def one_text_per_row(
    decoding: Decoding, choose: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the tokens of one text per row, int32 [B, T], and their log-probabilities [B, T].

    Args:
        decoding: A decoder that has read its start token.
        choose: From logits [B, V] and the position of each row's next token, int32 [B], to these tokens, int32 [B].
    """
    rows, positions = decoding.rows, tf.range(decoding.length)

    def written(position, logits, tokens, log_probabilities, has_ended):
        position = position - decoding.delay
        chosen = choose(logits, tf.clip_by_value(position, 0, decoding.length - 1))
        log_probability = tf.gather(tf.nn.log_softmax(logits), chosen, batch_dims=1)
        is_next = (positions == position[:, None]) & ~has_ended[:, None]
        tokens = tf.where(is_next, chosen[:, None], tokens)
        log_probabilities = tf.where(is_next, log_probability[:, None], log_probabilities)
        is_last = (position >= 0) & ((chosen == decoding.end) | (position == decoding.length - 1))
        return tokens, log_probabilities, has_ended | is_last

    def goes_on(position, state, tokens, log_probabilities, has_ended):
        return ~tf.reduce_all(has_ended)

    def next_token(position, state, tokens, log_probabilities, has_ended):
        last = tf.clip_by_value(position - 1 - decoding.delay, 0, decoding.length - 1)
        fed = tf.gather(tokens, last, axis=1, batch_dims=1)
        logits, state = decoding.step(fed, position, state, decoding.context)
        return position + 1, state, *written(position, logits, tokens, log_probabilities, has_ended)

    blank = tf.fill([rows, decoding.length], decoding.padding), tf.zeros([rows, decoding.length])
    first = written(0, decoding.logits, *blank, tf.zeros([rows], tf.bool))
    _, _, tokens, log_probabilities, _ = tf.while_loop(
        goes_on, next_token, (1, decoding.state, *first), maximum_iterations=decoding.steps - 1
    )
    return tokens, log_probabilities
