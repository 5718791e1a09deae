"""Features and scores of pairs of words."""

from typing import Any

import keras

from tf_mtl.layers._mask_scores import MASKED, MaskScores


@keras.saving.register_keras_serializable("tf_mtl")
class PairFeatures(keras.layers.Layer):
    """Features of all pairs of words: relu(u_i + v_j), [B, W, W, D], from two sequences [B, W, D], as a list."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Return the features."""
        first, second = inputs
        return keras.ops.relu(first[:, :, None] + second[:, None])

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Return the mask of the words."""
        return mask[0] if isinstance(mask, list | tuple) else mask

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the features."""
        rows, words, units = input_shape[0]
        return rows, words, words, units


@keras.saving.register_keras_serializable("tf_mtl")
class MaskPairs(MaskScores):
    """Marks pairs with a masked word: all their scores [B, W, W, C] become -1e9 where the words' mask [B, W] is False.

    `MaskPairs.valid_mask(scores)` then recovers the mask of pairs from the scores.
    """

    def _counted(self, is_valid: Any) -> Any:
        return keras.ops.logical_and(is_valid[:, :, None], is_valid[:, None])

    @staticmethod
    def valid_mask(scores: Any) -> Any:
        """Return which pairs consist of two words, [B, W, W], from marked scores; a NaN is the score of such a pair."""
        return ~(scores[..., 0] <= MASKED / 2)


@keras.saving.register_keras_serializable("tf_mtl")
class JoinTags(keras.layers.Layer):
    """Joins the words' tags with the scores of pairs: [B, W, W, R] become [B, W, W, R + 1].

    Its inputs are scores of `MaskPairs` and the probabilities of tags [B, W, C], as a list. The last value of a pair
    (i, j) is the index of the most probable tag of word i; -1e9 for marked pairs.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Return the scores and tags."""
        scores, probabilities = inputs
        tags = keras.ops.cast(keras.ops.argmax(probabilities, -1), scores.dtype)[:, :, None]
        tags = keras.ops.where(MaskPairs.valid_mask(scores), tags, MASKED)
        return keras.ops.concatenate([scores, tags[..., None]], -1)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """Return no mask: the scores encode it."""

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the joined tensor."""
        scores, _ = input_shape
        return (*scores[:-1], scores[-1] + 1)
