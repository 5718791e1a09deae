"""Points from heat maps."""

from collections.abc import Sequence
from typing import Any

import keras


@keras.saving.register_keras_serializable("tf_mtl")
class ExpectedPoints(keras.layers.Layer):
    """The expected positions of K points, (x, y) in pixels, [B, K, 2], from the logits of heat maps [B, h, w, K].

    A heat map's softmax over all positions gives the probabilities of the positions, at their centres.

    Args:
        image_size: Height and width of the image that the maps cover.
        **kwargs: See `keras.layers.Layer`; the layer computes in float32 under any precision policy.
    """

    def __init__(self, image_size: Sequence[int], **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.image_size = int(image_size[0]), int(image_size[1])

    def call(self, inputs: Any) -> Any:
        """Return the points."""
        _, height, width, number = inputs.shape
        flat = keras.ops.reshape(inputs, (-1, height * width, number))
        probabilities = keras.ops.reshape(keras.ops.softmax(flat, 1), (-1, height, width, number))
        y, x = (
            (keras.ops.arange(size, dtype="float32") + 0.5) * (whole / size)
            for size, whole in zip((height, width), self.image_size, strict=True)
        )
        x = keras.ops.sum(keras.ops.sum(probabilities, 1) * x[:, None], 1)
        y = keras.ops.sum(keras.ops.sum(probabilities, 2) * y[:, None], 1)
        return keras.ops.stack([x, y], -1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the points."""
        return (input_shape[0], input_shape[-1], 2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "image_size": self.image_size}
