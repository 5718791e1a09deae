"""Spans in BIO tags: B-x begins a span of type x, I-x continues it, O is outside (Ramshaw and Marcus, 1995)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf


class Spans(NamedTuple):
    """The spans of a batch of tag sequences, with values for each word.

    Attributes:
        starts: Whether a span begins at the word, [B, W].
        lengths: The number of words of the span that begins at the word, [B, W]; 0 if none begins.
        types: Index of the type of the word's tag, [B, W]; 0 outside spans.
        segments: Index of the word's segment, [B, W]. The words of a span are one segment; each other word is its own.
    """

    starts: tf.Tensor
    lengths: tf.Tensor
    types: tf.Tensor
    segments: tf.Tensor


class SpanEnds(NamedTuple):
    """The spans of a batch of tag sequences by their last words, with values for each word.

    Attributes:
        is_end: Whether the word is the last of a span, [B, W].
        begins: The index of the first word of the word's span, [B, W]; outside spans, of the word itself.
        types: Index of the type of the word's tag, [B, W]; 0 outside spans.
    """

    is_end: tf.Tensor
    begins: tf.Tensor
    types: tf.Tensor


class Bio:
    """The tags of one task.

    Args:
        labels: The tags: "O", and "B-x" for each type x, with "I-x" or without.
        owner: What the tags belong to, for messages.

    Attributes:
        types: The names of the types, in the order of their "B-x".
        outside: The index of "O".

    Raises:
        ValueError: for any other tag, for an "I-x" without its "B-x", or if "O" is missing.
    """

    def __init__(self, labels: Sequence[str], owner: str):
        self.labels = list(labels)
        invalid = [tag for tag in self.labels if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag) < 3)]
        if invalid or "O" not in self.labels:
            raise ValueError(
                f"`labels` of {owner} must be BIO tags, 'O' and 'B-x' and 'I-x' for each type x, received "
                f"{invalid[0] if invalid else self.labels!r}. For tags without spans, such as parts of speech, use "
                "scheme='none'."
            )
        self.types = [tag[2:] for tag in self.labels if tag.startswith("B-")]
        orphans = [tag for tag in self.labels if tag.startswith("I-") and tag[2:] not in self.types]
        if orphans:
            begin = f"B-{orphans[0][2:]}"
            raise ValueError(
                f"`labels` of {owner} must contain 'B-x' for each 'I-x', received '{orphans[0]}' without '{begin}'. "
                f"Add '{begin}'."
            )
        self.outside = self.labels.index("O")
        self._begins = np.array([tag.startswith("B-") for tag in self.labels])
        self._type = np.array([-1 if tag == "O" else self.types.index(tag[2:]) for tag in self.labels])

    @property
    def allowed(self) -> np.ndarray:
        """Whether the second tag may follow the first, [C, C]: I-x may follow only B-x and I-x, other tags any tag."""
        same_type = self._type[:, None] == self._type[None, :]
        return same_type | self.allowed_first[None, :]

    @property
    def allowed_first(self) -> np.ndarray:
        """Which tags may come first, [C]: all but I-x."""
        return self._begins | (self._type < 0)

    def spans(self, tags: tf.Tensor) -> Spans:
        """Return the spans in tag indices [B, W].

        An I-x that does not continue a span of type x begins one, as in the CoNLL evaluation.
        """
        types, begins = tf.gather(self._type, tags), tf.gather(self._begins, tags)
        inside = types >= 0
        previous = tf.pad(types[:, :-1], [[0, 0], [1, 0]], constant_values=-1)
        starts = inside & (begins | (types != previous))
        continues = inside & ~starts
        rows, words = tf.unstack(tf.shape(tags))
        segments = tf.cumsum(tf.cast(~continues, tf.int32), 1) + tf.range(rows)[:, None] * (words + 1)
        lengths = tf.math.unsorted_segment_sum(tf.ones_like(tags), segments, rows * (words + 1))
        lengths = tf.where(starts, tf.gather(lengths, segments), 0)
        return Spans(starts, lengths, tf.cast(tf.maximum(types, 0), tf.int32), segments)

    def span_ends(self, tags: tf.Tensor) -> SpanEnds:
        """Return the spans in tag indices [B, W] by their last words; see `spans`."""
        spans = self.spans(tags)
        rows, words = tf.unstack(tf.shape(tags))
        is_last = tf.pad(spans.segments[:, 1:] != spans.segments[:, :-1], [[0, 0], [0, 1]], constant_values=True)
        positions = tf.broadcast_to(tf.range(words), [rows, words])
        begins = tf.math.unsorted_segment_min(positions, spans.segments, rows * (words + 1))
        return SpanEnds(is_last & (tags != self.outside), tf.gather(begins, spans.segments), spans.types)
