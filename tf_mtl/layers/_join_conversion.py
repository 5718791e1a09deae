"""The output of conversions: both logits, and which rows were clicked."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("tf_mtl")
class JoinConversion(keras.layers.Layer):
    """From the logits of a click and of a conversion, and the labels of clicks, all [B, 1], to [B, 3].

    Without labels, their column is -1.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, logits: Any, clicks: Any = None) -> Any:
        """Return the joined columns."""
        click, conversion = logits
        unknown = keras.ops.zeros_like(conversion) - 1
        return keras.ops.concatenate([click, conversion, unknown if clicks is None else clicks], -1)

    def compute_output_shape(self, logits_shape: Any, clicks_shape: Any = None) -> Any:
        """Return [B, 3]."""
        return (logits_shape[0][0], 3)
