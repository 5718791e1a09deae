"""Spans in BIO tags: B-x begins a span of type x, I-x goes on with it, O lies outside (Ramshaw and Marcus, 1995)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf


class Spans(NamedTuple):
    """The spans of a batch of tag sequences, each at the place of its first word.

    Attributes:
        starts: Whether a span begins here, [B, W].
        lengths: Words of the span that begins here, [B, W].
        types: Index of the type of the tag here, [B, W]; 0 outside of spans.
        segments: A number that the words of one span share and no others, [B, W].
    """

    starts: tf.Tensor
    lengths: tf.Tensor
    types: tf.Tensor
    segments: tf.Tensor


class Bio:
    """The tags of one task.

    Args:
        labels: The tags: "O", and "B-x" for each type x, with "I-x" or without.
        owner: Who asks, for messages.

    Attributes:
        types: The names of the types, in the order of their "B-x".
        outside: The index of "O".

    Raises:
        ValueError: for other tags, an "I-x" without its "B-x", or no "O".
    """

    def __init__(self, labels: Sequence[str], owner: str):
        self.labels = list(labels)
        wrong = [tag for tag in self.labels if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag) < 3)]
        if wrong or "O" not in self.labels:
            raise ValueError(
                f"`labels` of {owner} must be BIO tags, 'O' and 'B-x' and 'I-x' for each type x, received "
                f"{wrong[0] if wrong else self.labels!r}. For tags without spans, such as parts of speech, use "
                "scheme='none'."
            )
        self.types = [tag[2:] for tag in self.labels if tag.startswith("B-")]
        lonely = [tag for tag in self.labels if tag.startswith("I-") and tag[2:] not in self.types]
        if lonely:
            raise ValueError(f"`labels` of {owner} hold '{lonely[0]}' without 'B-{lonely[0][2:]}': add it.")
        self.outside = self.labels.index("O")
        self._begins = np.array([tag.startswith("B-") for tag in self.labels])
        self._type = np.array([-1 if tag == "O" else self.types.index(tag[2:]) for tag in self.labels])

    @property
    def allowed(self) -> np.ndarray:
        """Which tag may follow which, [C, C]: all but I-x after anything but B-x and I-x."""
        same_type = self._type[:, None] == self._type[None, :]
        return same_type | self.allowed_first[None, :]

    @property
    def allowed_first(self) -> np.ndarray:
        """Which tag may come first, [C]: all but I-x."""
        return self._begins | (self._type < 0)

    def spans(self, tags: tf.Tensor) -> Spans:
        """Return the spans in tag indices [B, W].

        An I-x that does not go on with a span of type x begins one, as in the CoNLL evaluation.
        """
        kind, begins = tf.gather(self._type, tags), tf.gather(self._begins, tags)
        inside = kind >= 0
        before = tf.pad(kind[:, :-1], [[0, 0], [1, 0]], constant_values=-1)
        starts = inside & (begins | (kind != before))
        goes_on = inside & ~starts
        rows, words = tf.unstack(tf.shape(tags))
        segments = tf.cumsum(tf.cast(~goes_on, tf.int32), 1) + tf.range(rows)[:, None] * (words + 1)
        lengths = tf.math.unsorted_segment_sum(tf.ones_like(tags), segments, rows * (words + 1))
        lengths = tf.where(starts, tf.gather(lengths, segments), 0)
        return Spans(starts, lengths, tf.cast(tf.maximum(kind, 0), tf.int32), segments)
