"""Pairs of texts as one sequence of tokens."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tf_mtl._keys import SEGMENT_IDS, TOKEN_IDS, WORD_STARTS


class Tokens(NamedTuple):
    """The tokens of texts, without special tokens.

    Attributes:
        ids: Token ids, ragged int32 [B, None].
        starts: 1 at each word's first token, 0 elsewhere, ragged int32 [B, None].
    """

    ids: tf.RaggedTensor
    starts: tf.RaggedTensor


class SpecialTokens(NamedTuple):
    """The ids before, between and after the texts of a pair."""

    start: tuple[int, ...]
    separator: tuple[int, ...]
    end: tuple[int, ...]


def pair_names(pair: Any) -> tuple[str, str] | None:
    """Return the names of the two texts of a pair.

    Raises:
        ValueError: for anything but two different identifiers, or None.
    """
    if pair is None:
        return None
    names = tuple(pair) if isinstance(pair, Sequence) and not isinstance(pair, str) else ()
    is_name = [isinstance(name, str) and name.isidentifier() and name.isascii() for name in names]
    if is_name != [True, True] or names[0] == names[1]:
        raise ValueError(
            "`pair` must be the names of the two texts, different identifiers of ASCII letters, digits and _, received "
            f'{pair!r}. Use for example pair=("question", "sentence").'
        )
    return names[0], names[1]


def pair_inputs(
    first_words: tf.RaggedTensor,
    second_words: tf.RaggedTensor,
    tokens: Callable[[tf.RaggedTensor], Tokens],
    special: SpecialTokens,
    length: int,
) -> dict[str, tf.RaggedTensor]:
    """Return `token_ids`, `word_starts` and `segment_ids` of pairs, ragged int32 [B, None].

    A row is the start, the first text, the separator, the second text and the end. If the second text has no tokens,
    the separator is left out. The segment id is 1 in the second text and at the end after it, 0 elsewhere.

    Args:
        first_words: The words of the first texts, [B, None].
        second_words: The words of the second texts, [B, None].
        tokens: Returns the tokens of words, at least one for each word.
        special: The special tokens.
        length: The longest sequence, special tokens included.
    """
    rows = first_words.nrows()
    both = tokens(tf.concat([first_words, second_words], 0))  # one call: tracing a tokenizer takes long
    first, second = (Tokens(both.ids[part], both.starts[part]) for part in (slice(rows), slice(rows, None)))
    is_pair = second.ids.row_lengths() > 0
    separator_lengths = tf.where(is_pair, tf.constant(len(special.separator), tf.int64), 0)
    room = length - len(special.start) - len(special.end) - separator_lengths
    first_counts, second_counts = longest_first(first.ids.row_lengths(), second.ids.row_lengths(), room)

    def joined(first_values: tf.RaggedTensor, second_values: tf.RaggedTensor, special: SpecialTokens):
        start, separator, end = (tf.repeat([values], first_values.nrows(), 0) for values in map(_constant, special))
        separator = tf.RaggedTensor.from_tensor(separator, separator_lengths)
        texts = _first_values(first_values, first_counts), _first_values(second_values, second_counts)
        return tf.concat([start, texts[0], separator, texts[1], end], axis=1)

    ids = joined(first.ids, second.ids, special)
    no_starts = SpecialTokens(*((0,) * len(values) for values in special))
    second_begins = len(special.start) + first_counts + separator_lengths
    positions = tf.ragged.range(ids.row_lengths()).values
    row_of_token = ids.value_rowids()
    is_second = tf.gather(is_pair, row_of_token) & (positions >= tf.gather(second_begins, row_of_token))
    return {
        TOKEN_IDS: ids,
        WORD_STARTS: joined(first.starts, second.starts, no_starts),
        SEGMENT_IDS: ids.with_values(tf.cast(is_second, tf.int32)),
    }


def longest_first(first: tf.Tensor, second: tf.Tensor, room: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return how many tokens of each text fit into `room` if the longer text loses one token after the other.

    Of texts of the same length, the second loses its last token.

    Args:
        first: The number of tokens of the first texts, [B].
        second: The number of tokens of the second texts, [B].
        room: The largest sum of both, [B].
    """
    second = tf.minimum(second, tf.maximum(room // 2, room - first))
    return tf.minimum(first, room - second), second


def words_of_segment(encoded: dict[str, tf.RaggedTensor], segment: int) -> tf.Tensor:
    """Return the number of words of each row in the first text (segment 0) or the second (1), int64 [B]."""
    is_word = (encoded[WORD_STARTS].values > 0) & (encoded[SEGMENT_IDS].values == segment)
    return tf.reduce_sum(encoded[WORD_STARTS].with_values(tf.cast(is_word, tf.int64)), axis=1)


def _constant(values: Sequence[int]) -> tf.Tensor:
    return tf.constant(values, tf.int32, [len(values)])


def _first_values(ragged: tf.RaggedTensor, counts: tf.Tensor) -> tf.RaggedTensor:
    """Return the first values of each row, as many as `counts` [B] gives."""
    starts = ragged.row_starts()
    return tf.gather(ragged.values, tf.ragged.range(starts, starts + counts))
