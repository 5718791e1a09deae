"""From sub-words to words."""

import keras


@keras.saving.register_keras_serializable("tf_mtl")
class FirstSubwords(keras.layers.Layer):
    """The first sub-word of each word, in order and without gaps: what stands for the word (Devlin et al., 2019).

    From a sequence [B, S, D] and `word_starts` [B, S], which is not 0 at each word's first sub-word, to the words
    [B, S, D], and a mask [B, S] of those that there are: n words stand in the first n places.

    Args:
        **kwargs: See `keras.layers.Layer`.

    Example:

    >>> sequence = np.array([[[1.0], [2.0], [3.0], [4.0]]])  # [CLS], em-, -bed, it
    >>> words, mask = mtl.layers.FirstSubwords()(sequence, np.array([[0, 1, 0, 1]]))
    >>> words[0, :2, 0].numpy().tolist(), mask[0].numpy().tolist()
    ([2.0, 4.0], [True, True, False, False])
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, sequence, word_starts):
        """Return the words and their mask."""
        starts = keras.ops.not_equal(word_starts, 0)
        steps = keras.ops.shape(sequence)[1]
        places = keras.ops.arange(steps, dtype="int32")
        order = keras.ops.argsort(keras.ops.where(starts, places, places + steps), axis=1)
        words = keras.ops.take_along_axis(sequence, order[..., None], axis=1)
        number = keras.ops.sum(keras.ops.cast(starts, "int32"), axis=1, keepdims=True)
        return words, places < number

    def compute_mask(self, *inputs, **masks):
        """Return no masks: the words' is among the outputs."""
        return None, None

    def compute_output_shape(self, sequence_shape, word_starts_shape):
        return sequence_shape, word_starts_shape

    def compute_output_spec(self, sequence, word_starts):
        mask = keras.KerasTensor(word_starts.shape, dtype="bool")
        return keras.KerasTensor(sequence.shape, dtype=sequence.dtype), mask
