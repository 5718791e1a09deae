"""Texts together with the positions of their words."""

from typing import Any, NamedTuple

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


def locate(preprocessor: Any, texts: Any) -> LocatedTexts:
    """Return texts [B], of pairs the first, with the positions of their words, from a preprocessor's `locate`.

    Raises:
        TypeError: if its `locate` returns anything else.
    """
    located = preprocessor.locate(texts)
    if not isinstance(located, LocatedTexts):
        raise TypeError(
            f"`preprocessor.locate` must return a tf_mtl.text.LocatedTexts, received {type(located).__name__}."
        )
    return located
