"""A connection through which no gradient flows back."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("tf_mtl")
class StopGradient(keras.layers.Layer):
    """Returns its input. What lies before it is not trained through it, and not shared by what lies behind it."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Return the input."""
        return keras.ops.stop_gradient(inputs)
