"""Where the words of raw texts are, in the graph, with core TensorFlow alone."""

from typing import NamedTuple

import tensorflow as tf

_SPACE = r"[\s\p{Z}\x{0b}\x{1c}-\x{1f}\x{85}]"  # with these it is what Python's str.isspace says
_MARK = r"[^\P{P}@#]|\p{S}"


class Split(NamedTuple):
    """The words of texts [B], and the bytes of the text that each takes.

    Attributes:
        words: Ragged strings [B, None].
        begins: Offset of each word's first byte, ragged int32 [B, None].
        ends: Offset of the byte behind its last.
    """

    words: tf.RaggedTensor
    begins: tf.RaggedTensor
    ends: tf.RaggedTensor


def split(texts: tf.Tensor) -> Split:
    """Return the words of texts [B]; for the rule see `TextPreprocessor.split`."""
    codes, offsets = tf.strings.unicode_decode_with_offsets(texts, "UTF-8")
    row_of_char = codes.value_rowids()
    sizes = tf.strings.length(texts)
    row_begins = tf.cumsum(sizes, exclusive=True)  # in bytes, all texts one behind the other
    begins = tf.cast(offsets.values, tf.int32) + tf.gather(row_begins, row_of_char)
    ends = tf.concat([begins, [tf.reduce_sum(sizes)]], 0)[1:]
    first, last = _first_and_last(codes.values, row_of_char)

    rows, begins, ends = tf.gather(row_of_char, first), tf.gather(begins, first), tf.gather(ends, last)
    # joined from bytes and not cut out by tf.strings.substr, which would copy a text for each of its words
    bytes_of_words = tf.gather(tf.strings.bytes_split(texts).values, tf.ragged.range(begins, ends))
    words = tf.strings.reduce_join(bytes_of_words, axis=1)
    words = tf.RaggedTensor.from_value_rowids(words, rows, codes.nrows(), validate=False)
    row_begins = tf.gather(row_begins, rows)
    return Split(words, words.with_values(begins - row_begins), words.with_values(ends - row_begins))


def _first_and_last(codes, rows):
    """Return the places of each word's first and last character among all characters."""
    unique, index = tf.unique(codes)
    characters = tf.strings.unicode_encode(unique[:, None], "UTF-8")
    space = tf.gather(tf.strings.regex_full_match(characters, _SPACE), index)
    mark = tf.gather(tf.strings.regex_full_match(characters, _MARK), index)

    size = tf.size(codes)
    places = tf.range(size)
    behind_break = tf.concat([[True], space[:-1] | (rows[1:] != rows[:-1])], 0)[:size]
    run = tf.cumsum(tf.cast(behind_break & ~space, tf.int32))
    inner = ~space & ~mark
    first = tf.gather(tf.math.unsorted_segment_min(tf.where(inner, places, size), run, size + 1), run)
    last = tf.gather(tf.math.unsorted_segment_max(tf.where(inner, places, -1), run, size + 1), run)
    alone = mark & ((places < first) | (places > last))
    starts = tf.boolean_mask(places, alone | (places == first))
    return starts, tf.where(tf.gather(alone, starts), starts, tf.gather(last, starts))
