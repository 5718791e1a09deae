"""Maps of another height and width."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("tf_mtl")
class ResizeMap(keras.layers.Layer):
    """A map [B, h, w, C] enlarged or reduced to a height and a width, by bilinear interpolation.

    Args:
        height: The height.
        width: The width.
        **kwargs: See `keras.layers.Layer`.
    """

    def __init__(self, height: int, width: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.height, self.width = int(height), int(width)

    def call(self, inputs: Any) -> Any:
        """Return the map of the new size."""
        if tuple(inputs.shape[1:3]) == (self.height, self.width):
            return inputs
        return keras.ops.image.resize(inputs, (self.height, self.width), "bilinear", data_format="channels_last")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the new map."""
        return (input_shape[0], self.height, self.width, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height": self.height, "width": self.width}
