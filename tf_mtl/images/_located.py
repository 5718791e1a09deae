"""Images with the way back to their original pixels."""

from typing import NamedTuple

import tensorflow as tf


class LocatedImages(NamedTuple):
    """Where the model's images come from.

    A point (x, y) of the model's image is the point ((x - left) / scale_x, (y - top) / scale_y) of the original one.

    Attributes:
        sizes: Height and width of the original images, int32 [B, 2].
        scales: The factors (scale_x, scale_y) by which they were resized, [B, 2].
        offsets: (left, top), where they begin in the model's image, in its pixels, [B, 2].
    """

    sizes: tf.Tensor
    scales: tf.Tensor
    offsets: tf.Tensor

    def original_points(self, points: tf.Tensor) -> tf.Tensor:
        """Return points (x, y), [B, K, 2], of the model's images in the original images' pixels."""
        return (points - self.offsets[:, None]) / self.scales[:, None]

    def original_boxes(self, boxes: tf.Tensor) -> tf.Tensor:
        """Return boxes [B, N, 4], "xyxy" in the model's images, in the original images' pixels, clipped to them."""
        scales, offsets = (tf.tile(x, [1, 2])[:, None] for x in (self.scales, self.offsets))
        limits = tf.cast(tf.tile(self.sizes[:, ::-1], [1, 2]), boxes.dtype)[:, None]
        return tf.minimum(tf.maximum((boxes - offsets) / scales, 0.0), limits)

    def model_boxes(self, boxes: tf.Tensor) -> tf.Tensor:
        """Return boxes [B, N, 4], "xyxy" in the original images, in the pixels of the model's images."""
        scales, offsets = (tf.tile(x, [1, 2])[:, None] for x in (self.scales, self.offsets))
        return boxes * scales + offsets
