"""Boxes and classes at all positions of a feature pyramid, in one tensor."""

from collections.abc import Sequence
from typing import Any

import keras

from tf_mtl._pyramid import centres


@keras.saving.register_keras_serializable("tf_mtl")
class JoinLevels(keras.layers.Layer):
    r"""From maps [B, h, w, 4 + C], one per level, to boxes and logits [B, A, 4 + C] at all A positions.

    The first four values x of a position are the distances from its centre to the four sides of its box, relative to
    the stride s of its level: the sides are 2 s exp(x) away, so a box is at first four strides wide. Boxes are (left,
    top, right, bottom) in pixels.

    Args:
        levels: The names of the levels, "P3" for the map of stride 8, in the order of the inputs.
        image_size: Height and width of the images.
        **kwargs: See `keras.layers.Layer`; the layer computes in float32 under any precision policy.
    """

    _largest = 8.0  # of x: beyond any image, and its exponential is finite

    def __init__(self, levels: Sequence[str], image_size: Sequence[int], **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.levels, self.image_size = list(levels), (int(image_size[0]), int(image_size[1]))
        points, strides = centres(self.levels, self.image_size)
        self._points, self._strides = points, strides[:, None]

    def call(self, inputs: Any) -> Any:
        """Return the boxes and logits."""
        width = inputs[0].shape[-1]
        joined = keras.ops.concatenate([keras.ops.reshape(x, (-1, x.shape[1] * x.shape[2], width)) for x in inputs], 1)
        sides = 2 * self._strides * keras.ops.exp(keras.ops.minimum(joined[..., :4], self._largest))
        first, last = self._points - sides[..., :2], self._points + sides[..., 2:]
        return keras.ops.concatenate([first, last, joined[..., 4:]], -1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape [B, A, 4 + C]."""
        return (input_shape[0][0], len(self._points), input_shape[0][-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "levels": self.levels, "image_size": self.image_size}
