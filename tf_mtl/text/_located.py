"""Texts together with the positions of their words."""

from typing import NamedTuple

import tensorflow as tf


class LocatedTexts(NamedTuple):
    """Texts and the positions of their words.

    Attributes:
        texts: The texts, strings [B].
        begins: Byte offset of the first byte of each word, int32 [B, W]; 0 after the last word.
        ends: Byte offset after the last byte of each word, int32 [B, W]; 0 after the last word.
    """

    texts: tf.Tensor
    begins: tf.Tensor
    ends: tf.Tensor
