"""Depth of each pixel."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl.losses import DepthLoss
from tf_mtl.metrics import AbsoluteRelativeError, DepthAccuracy
from tf_mtl.tasks._dense_task import DenseTask


@keras.saving.register_keras_serializable("tf_mtl")
class Depth(DenseTask):
    r"""A positive depth for each pixel, [B, H, W, 1], in the labels' units.

    The output is $m \exp(x)$, with x near 0 before training and m a typical depth. `DenseTask` says which features the
    head reads. Labels are [B, H, W] or [B, H, W, 1]; those that are not positive are missing. Label weights are [B] for
    images or [B, H, W] for pixels. The loss is `tf_mtl.losses.DepthLoss`. Metrics: `abs_rel`, `rmse` and `delta1`, the
    fraction of pixels within a factor of 1.25. Decoded: `depth` [B, H, W], and `mean`, that of the image, [B].

    Args:
        name: The task's name.
        image_size: Height and width of the model's images.
        typical: The depth m with which training begins, such as the mean of the labels.
        loss: The kind of `tf_mtl.losses.DepthLoss`.
        **kwargs: See `DenseTask` and `Task`.

    Raises:
        ValueError: for another loss, or a typical depth that is not positive.

    Example:

    >>> task = mtl.tasks.Depth("depth", image_size=(1, 2), typical=3.0)
    >>> task.decode(np.array([[[[2.0], [4.0]]]]))["mean"].numpy().tolist()
    [3.0]
    """

    def __init__(self, name: str, image_size: Sequence[int], typical: float = 1.0, loss: str = "silog", **kwargs: Any):
        super().__init__(name, image_size, **kwargs)
        self.typical = float(in_range("typical", typical, 0, open_low=True))
        self._loss = loss
        self.loss  # noqa: B018  checks `loss`

    @property
    def output_units(self) -> int:
        """The number of depths of a pixel, 1."""
        return 1

    @property
    def loss(self) -> keras.losses.Loss:
        """The loss of depths that `loss` names."""
        return DepthLoss(self._loss)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return the absolute relative error, the root mean squared error and the accuracy within 1.25."""
        return [AbsoluteRelativeError(), keras.metrics.RootMeanSquaredError(name="rmse"), DepthAccuracy()]

    def scores(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the depths at the positions of the map."""
        small = keras.initializers.RandomNormal(stddev=1e-3)  # so that depths begin near the typical one
        x = self.dense(1, f"{self.name}_logarithm", kernel_initializer=small)(x)
        x = keras.layers.Activation("exponential", dtype="float32", name=f"{self.name}_relative")(x)
        return keras.layers.Rescaling(self.typical, dtype="float32", name=f"{self.name}_small")(x)

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `depth` [B, H, W] and `mean` [B]."""
        depth = tf.cast(output[..., 0], tf.float32)
        return {"depth": depth, "mean": tf.reduce_mean(depth, [1, 2])}

    def encode_image_labels(self, record: Any, image: Any) -> tf.Tensor:
        """Return the depths [H, W], float32; see `DenseTask`."""
        return tf.cast(super().encode_image_labels(record, image), tf.float32)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "typical": self.typical, "loss": self._loss}
