"""Surface normals of each pixel."""

import keras
import tensorflow as tf

from tf_mtl.layers._resize_map import ResizeMap
from tf_mtl.losses import CosineDistance
from tf_mtl.metrics import Angles
from tf_mtl.tasks._dense_task import DenseTask


@keras.saving.register_keras_serializable("tf_mtl")
class Normals(DenseTask):
    """The direction of the surface at each pixel: unit vectors [B, H, W, 3].

    `DenseTask` says which features the head reads. Labels are vectors [B, H, W, 3] of any length; zeros where a label
    is missing. Label weights are [B] for images or [B, H, W] for pixels. The loss is `tf_mtl.losses.CosineDistance`.
    Metrics: `mean_angle` and `median_angle`, in degrees. Decoded: `normals` [B, H, W, 3], and `mean`, the image's mean
    direction, [B, 3].

    Args:
        name: The task's name.
        image_size: Height and width of the model's images.
        **kwargs: See `DenseTask` and `Task`.

    Example:

    >>> task = mtl.tasks.Normals("normals", image_size=(1, 2))
    >>> task.decode(np.array([[[[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]]]))["mean"].numpy().tolist()
    [[0.0, 0.0, 1.0]]
    """

    @property
    def output_units(self) -> int:
        """The number of coordinates, 3."""
        return 3

    @property
    def loss(self) -> keras.losses.Loss:
        """One minus the cosine of the angle, one value per pixel."""
        return CosineDistance()

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return the mean and the median angle."""
        return [Angles()]

    def output_layer(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the unit vectors."""
        x = ResizeMap(*self.image_size, dtype="float32", name=f"{self.name}_enlarged")(self.scores(x))
        return keras.layers.UnitNormalization(dtype="float32", name=self.name)(x)

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `normals` [B, H, W, 3] and `mean` [B, 3]."""
        normals = tf.cast(output, tf.float32)
        return {"normals": normals, "mean": tf.math.l2_normalize(tf.reduce_mean(normals, [1, 2]), -1)}
