"""Points in images."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl.images import LocatedImages
from tf_mtl.layers._expected_points import ExpectedPoints
from tf_mtl.losses import PointDistance
from tf_mtl.metrics import CorrectKeypoints
from tf_mtl.tasks._dense_task import DenseTask
from tf_mtl.tasks._head_arguments import class_names
from tf_mtl.tasks._image_labels import image_field


@keras.saving.register_keras_serializable("tf_mtl")
class Keypoints(DenseTask):
    """K named points, such as the corners of the mouth: (x, y) in pixels of the model's image, [B, K, 2].

    The head makes a heat map for each point, and the output is the expected position under its softmax. `DenseTask`
    says which features the head reads. Labels are [B, K, 2]; points with a negative coordinate are missing, such as
    hidden ones. Label weights are [B] for images or [B, K] for points. The loss is `tf_mtl.losses.PointDistance`, in
    units of a tenth of the image's larger side. Metric: `pck`, the fraction of points within a distance of their
    labels. Decoded: `points` [B, K, 2] and `relative` [B, K, 2], as fractions of width and height. With the raw images
    also `original_points`, in the pixels of each image before it was resized. Records for `tf_mtl.data.encode_images`
    hold points in these pixels, too.

    Args:
        name: The task's name.
        labels: The names of the points, or their number.
        image_size: Height and width of the model's images.
        near: The distance of `pck`, as a fraction of the image's larger side.
        **kwargs: See `DenseTask` and `Task`.

    Raises:
        ValueError: for no point, duplicate names, or a distance out of range.

    Reference: Sun et al., "Integral human pose regression", ECCV 2018.

    Example:

    >>> task = mtl.tasks.Keypoints("eyes", labels=["left", "right"], image_size=(100, 200))
    >>> task.decode(np.array([[[50.0, 50.0], [150.0, 50.0]]]))["relative"].numpy().tolist()
    [[[0.25, 0.5], [0.75, 0.5]]]
    """

    locates_in = LocatedImages

    def __init__(
        self, name: str, labels: Sequence[str] | int, image_size: Sequence[int], near: float = 0.05, **kwargs: Any
    ):
        super().__init__(name, image_size, **kwargs)
        self.labels = class_names(name, labels, least=1)
        self.near = float(in_range("near", near, 0, 1, open_low=True))

    @property
    def output_units(self) -> int:
        """The number of coordinates of a point, 2."""
        return 2

    @property
    def loss(self) -> keras.losses.Loss:
        """The distance of each point."""
        return PointDistance(max(self.image_size) / 10)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return the fraction of points that are near their labels."""
        return [CorrectKeypoints(self.near * max(self.image_size))]

    def output_layer(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the points."""
        maps = self.dense(len(self.labels), f"{self.name}_maps")(x)
        return ExpectedPoints(self.image_size, name=self.name)(maps)

    def encode_image_labels(self, record: Mapping[str, tf.Tensor], image: LocatedImages) -> tf.Tensor:
        """Return the points [K, 2] from the record's field with the task's name, in pixels of the original image.

        Raises:
            ValueError: if the record lacks the field.
        """
        points = tf.cast(image_field(self.name, record, self.name), tf.float32)
        moved = points * image.scales[0] + image.offsets[0]
        return tf.where(tf.reduce_any(points < 0, -1, keepdims=True), -1.0, moved)

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `points` and `relative`, both [B, K, 2]."""
        height, width = self.image_size
        points = tf.cast(output, tf.float32)
        return {"points": points, "relative": points / tf.constant([width, height], tf.float32)}

    def locate(self, answer: Mapping[str, tf.Tensor], located: LocatedImages) -> dict[str, tf.Tensor]:
        """Return `original_points` [B, K, 2]."""
        return {"original_points": located.original_points(answer["points"])}

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "labels": self.labels, "near": self.near}
