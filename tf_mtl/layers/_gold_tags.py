"""Labels of tags in place of their predictions."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("tf_mtl")
class GoldTags(keras.layers.Layer):
    """Puts the labels of tags in place of predicted probabilities [B, W, C], where there are any.

    Labels are indices [B, W], and negative where one is missing. Without labels, the probabilities remain.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.supports_masking = True

    def call(self, probabilities: Any, tags: Any = None) -> Any:
        """Return the probabilities of tags, 0 or 1 where labels are given."""
        if tags is None:
            return probabilities
        ops = keras.ops
        gold = ops.one_hot(ops.maximum(tags, 0), probabilities.shape[-1], dtype=probabilities.dtype)
        return ops.where(ops.expand_dims(tags >= 0, -1), gold, probabilities)

    def compute_output_shape(self, probabilities_shape: Any, tags_shape: Any = None) -> Any:
        """Return the shape of the probabilities."""
        return probabilities_shape
