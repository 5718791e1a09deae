"""From sub-words to words."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("tf_mtl")
class FirstSubwords(keras.layers.Layer):
    """The first sub-word of each word, in order and without gaps, to represent the word (Devlin et al., 2019).

    From a sequence [B, S, D] and `word_starts` [B, S], which is not 0 at each word's first sub-word, to words
    [B, S, D] and their mask [B, S]. The n words of a row are at its first n positions, where the mask is True.

    Args:
        **kwargs: See `keras.layers.Layer`.

    Example:

    >>> sequence = np.array([[[1.0], [2.0], [3.0], [4.0]]])  # [CLS], em-, -bed, it
    >>> words, mask = mtl.layers.FirstSubwords()(sequence, np.array([[0, 1, 0, 1]]))
    >>> words[0, :2, 0].numpy().tolist(), mask[0].numpy().tolist()
    ([2.0, 4.0], [True, True, False, False])
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, sequence: Any, word_starts: Any) -> tuple[Any, Any]:
        """Return the words and their mask."""
        starts = keras.ops.not_equal(word_starts, 0)
        steps = keras.ops.shape(sequence)[1]
        positions = keras.ops.arange(steps, dtype="int32")
        order = keras.ops.argsort(keras.ops.where(starts, positions, positions + steps), axis=1)
        words = keras.ops.take_along_axis(sequence, order[..., None], axis=1)
        number = keras.ops.sum(keras.ops.cast(starts, "int32"), axis=1, keepdims=True)
        return words, positions < number

    def compute_mask(self, *inputs: Any, **masks: Any) -> tuple[None, None]:
        """Return no masks: the words' mask is an output."""
        return None, None

    def compute_output_shape(self, sequence_shape: Any, word_starts_shape: Any) -> tuple[Any, Any]:
        """Return the shapes of the words and their mask."""
        return sequence_shape, word_starts_shape

    def compute_output_spec(self, sequence: Any, word_starts: Any) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """Return the symbolic words and their mask."""
        mask = keras.KerasTensor(word_starts.shape, dtype="bool")
        return keras.KerasTensor(sequence.shape, dtype=sequence.dtype), mask
