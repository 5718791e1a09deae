"""Scores of words after the score of no answer."""

from typing import Any

import keras

from tf_mtl.layers._mask_scores import MASKED


@keras.saving.register_keras_serializable("tf_mtl")
class NoAnswerFirst(keras.layers.Layer):
    """Puts scores [B, C] before those of words [B, W, C]: [B, W + 1, C]; from both, or the words' alone, as a list.

    Without the former, they are -1e9.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Return the joined scores."""
        words, *none = inputs
        if not none:
            return keras.ops.pad(words, [[0, 0], [1, 0], [0, 0]], constant_values=MASKED)
        return keras.ops.concatenate([none[0][:, None], words], 1)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """Return no mask: the scores contain it."""

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the joined scores."""
        rows, words, units = input_shape[0]
        return rows, None if words is None else words + 1, units
