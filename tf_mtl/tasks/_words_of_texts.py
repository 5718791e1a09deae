"""Words, and spans of words, in located texts."""

from typing import NamedTuple

import tensorflow as tf

from tf_mtl.text import LocatedTexts


class WordOffsets(NamedTuple):
    """Where words begin and end in their UTF-8 text, byte offsets [B, W]."""

    begins: tf.Tensor
    ends: tf.Tensor


def word_offsets(located: LocatedTexts, width: tf.Tensor) -> WordOffsets:
    """Return the offsets of the first `width` words of each text, 0 for further ones than it has."""
    padding = [[0, 0], [0, tf.maximum(0, width - tf.shape(located.begins)[1])]]
    return WordOffsets(*(tf.pad(offsets, padding)[:, :width] for offsets in (located.begins, located.ends)))


def substrings(texts: tf.Tensor, valid: tf.Tensor, begins: tf.Tensor, ends: tf.Tensor) -> tf.Tensor:
    """Return the parts of texts [B] between byte offsets [B, W]; "" where `valid` is False."""
    begins, sizes = tf.where(valid, begins, 0), tf.where(valid, ends - begins, 0)
    return tf.strings.substr(tf.broadcast_to(texts[:, None], tf.shape(begins)), begins, sizes)
