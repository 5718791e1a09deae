"""The base of tasks with an output for each pair of words."""

from abc import abstractmethod

import keras
import tensorflow as tf

from tf_mtl.layers._pairs_of_words import MaskPairs
from tf_mtl.tasks._sequence_task import SequenceTask


class PairTask(SequenceTask):
    """A task with an output for each pair of words of a sequence, [B, W, W, C].

    `SequenceTask` says which features the head reads and what a word is. Subclasses define what those of `Task` do, for
    pairs, and `output_layer`. In `decode`, `valid_mask` gives the pairs of two words; all outputs of the other pairs
    are -1e9. Labels of these pairs never count. Label weights are [B] for whole sentences, [B, W, W], or
    [B, W, W, C].

    Other tasks (see `after` in `Task`) can read the "hidden" features, but not the output, whose size depends on the
    sentence.

    Args:
        name: The task's name.
        features: The sequence that the head reads, a key of the encoder's dict of features.
        **kwargs: See `Task`.
    """

    @abstractmethod
    def output_layer(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the outputs of all pairs [B, W, W, C] from the words' features [B, W, D]."""

    def marked(self, scores: keras.KerasTensor, mask: keras.KerasTensor | None) -> keras.KerasTensor:
        """Return the output of the layer with the task's name, which marks pairs that are not two words.

        Args:
            scores: What `output_layer` returned.
            mask: Which positions contain a word, [B, W]; None if all do, or if Keras' own mask applies.
        """
        return MaskPairs(name=self.name)(scores, mask=mask)

    def readable(self, output: keras.KerasTensor, part: str) -> keras.KerasTensor:
        """Return the hidden features, zero where no word is.

        Raises:
            ValueError: for another part.
        """
        if part != "hidden":
            raise ValueError(
                f"`after` reads the {part} of task '{self.name}', whose size depends on the sentence. Read "
                f"{{'{self.name}': 'hidden'}}."
            )
        return super().readable(output, part)

    def valid_mask(self, output: tf.Tensor) -> tf.Tensor:
        """Return which pairs consist of two words, [B, W, W]."""
        return MaskPairs.valid_mask(output)
