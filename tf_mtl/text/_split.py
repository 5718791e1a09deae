"""The words of raw texts and their positions, in the graph, with core TensorFlow alone."""

from typing import NamedTuple

import tensorflow as tf

_SPACE = r"[\s\p{Z}\x{0b}\x{1c}-\x{1f}\x{85}]"  # all characters of Python's str.isspace
_MARK = r"[^\P{P}@#]|\p{S}"


class Split(NamedTuple):
    """The words of texts [B], and their byte offsets in the texts.

    Attributes:
        words: Ragged strings [B, None].
        begins: Offset of each word's first byte, ragged int32 [B, None].
        ends: Offset after each word's last byte, ragged int32 [B, None].
    """

    words: tf.RaggedTensor
    begins: tf.RaggedTensor
    ends: tf.RaggedTensor


def split(texts: tf.Tensor) -> Split:
    """Return the words of texts [B]; `TextPreprocessor.split` has the rule."""
    codes, offsets = tf.strings.unicode_decode_with_offsets(texts, "UTF-8")
    row_of_char = codes.value_rowids()
    sizes = tf.strings.length(texts)
    row_begins = tf.cumsum(sizes, exclusive=True)  # in bytes, in all texts joined
    begins = tf.cast(offsets.values, tf.int32) + tf.gather(row_begins, row_of_char)
    ends = tf.concat([begins, [tf.reduce_sum(sizes)]], 0)[1:]
    first, last = _first_and_last(codes.values, row_of_char)

    rows, begins, ends = tf.gather(row_of_char, first), tf.gather(begins, first), tf.gather(ends, last)
    # Words are joined from bytes, because tf.strings.substr would copy the text for each of its words.
    bytes_of_words = tf.gather(tf.strings.bytes_split(texts).values, tf.ragged.range(begins, ends))
    words = tf.strings.reduce_join(bytes_of_words, axis=1)
    words = tf.RaggedTensor.from_value_rowids(words, rows, codes.nrows(), validate=False)
    row_begins = tf.gather(row_begins, rows)
    return Split(words, words.with_values(begins - row_begins), words.with_values(ends - row_begins))


def _first_and_last(codes: tf.Tensor, row_of_char: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the positions of each word's first and last character among all characters."""
    unique, index = tf.unique(codes)
    characters = tf.strings.unicode_encode(unique[:, None], "UTF-8")
    is_space = tf.gather(tf.strings.regex_full_match(characters, _SPACE), index)
    is_mark = tf.gather(tf.strings.regex_full_match(characters, _MARK), index)

    size = tf.size(codes)
    positions = tf.range(size)
    is_new_row = row_of_char[1:] != row_of_char[:-1]
    follows_break = tf.concat([[True], is_space[:-1] | is_new_row], 0)[:size]
    run = tf.cumsum(tf.cast(follows_break & ~is_space, tf.int32))
    is_inner = ~is_space & ~is_mark
    first = tf.gather(tf.math.unsorted_segment_min(tf.where(is_inner, positions, size), run, size + 1), run)
    last = tf.gather(tf.math.unsorted_segment_max(tf.where(is_inner, positions, -1), run, size + 1), run)
    is_separate = is_mark & ((positions < first) | (positions > last))
    starts = tf.boolean_mask(positions, is_separate | (positions == first))
    return starts, tf.where(tf.gather(is_separate, starts), starts, tf.gather(last, starts))
