"""The base of tasks with an output for each word."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._keys import MASK, SEQUENCE, WORD_STARTS, key_of
from tf_mtl.layers import FirstSubwords, MaskScores
from tf_mtl.layers._mask_scores import AtValidPositions
from tf_mtl.tasks._base import Task


class SequenceTask(Task):
    """A task with an output for each word of a sequence, [B, W, C].

    The head reads the features `sequence` and `mask`. If the encoder also returns `word_starts`, which marks each
    word's first sub-word (see `tf_mtl.text.Subwords`), only these positions are kept, in order and without gaps.
    Labels, outputs and answers then belong to words, with W = S as their largest number. Otherwise each position is a
    word. With another feature, such as `decoder`, the head reads `decoder_mask` and `decoder_word_starts` instead.
    Without a mask among the features, the one that Keras has attached to the sequence counts.

    Subclasses define what those of `Task` do, for words. In `decode`, `valid_mask` gives the positions with a word; at
    the others all outputs are -1e9.

    Args:
        name: The task's name.
        features: The sequence that the head reads, a key of the encoder's dict of features.
        **kwargs: See `Task`.
    """

    labels_words = True

    def __init__(self, name: str, features: str = SEQUENCE, **kwargs: Any):
        super().__init__(name, features=features, **kwargs)

    def head(self, features: Mapping[str, keras.KerasTensor]) -> keras.KerasTensor:
        """Return the task's symbolic output.

        Raises:
            ValueError: if the encoder does not return a sequence, or only a mask of another one.
        """
        words, mask = dict(features), features.get(key_of(MASK, self.features))
        if self.features in features and len(features[self.features].shape) != 3:
            raise ValueError(
                f"Task '{self.name}' reads a sequence [B, S, D], but features['{self.features}'] has the shape "
                f"{features[self.features].shape}. Set the task's `features`, or choose another encoder."
            )
        for part in (MASK, WORD_STARTS):
            key = key_of(part, self.features)
            if SEQUENCE not in features and part in features and key not in features:
                raise ValueError(
                    f"Task '{self.name}' reads features['{self.features}'], but the encoder gives '{part}', which "
                    f"belongs to '{SEQUENCE}', without '{SEQUENCE}'. Rename '{part}' to '{key}'."
                )
        word_starts = features.get(key_of(WORD_STARTS, self.features))
        if self.features in features and word_starts is not None:
            first_subwords = FirstSubwords(name=f"{self.name}_words")
            words[self.features], mask = first_subwords(features[self.features], word_starts)
        words.pop(key_of(MASK, self.features), None)  # `marked` applies it
        return self.marked(super().head(words), mask)

    def output_layer(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the words' outputs [B, W, C], before those without a word are marked."""
        return self.dense(self.output_units, f"{self.name}_scores")(x)

    def marked(self, scores: keras.KerasTensor, mask: keras.KerasTensor | None) -> keras.KerasTensor:
        """Return the output of the layer with the task's name, which marks positions without a word.

        Args:
            scores: What `output_layer` returned.
            mask: Which positions contain a word, [B, W]; None if all do, or if Keras' own mask applies.
        """
        return MaskScores(name=self.name)(scores, mask=mask)

    def readable(self, output: keras.KerasTensor, part: str) -> keras.KerasTensor:
        """Return the words' outputs, their probabilities, or the hidden features, zero where no word is."""
        return AtValidPositions(name=f"{self.name}_{part}_of_words")([super().readable(output, part), output])

    def valid_mask(self, output: tf.Tensor) -> tf.Tensor:
        """Return which positions contain a word, [B, W]."""
        return MaskScores.valid_mask(output)
