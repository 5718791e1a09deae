"""Dynamic weight average."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl.balancing._base import Scalarizer


@keras.saving.register_keras_serializable("tf_mtl")
class DWA(Scalarizer):
    r"""Dynamic weight average: $w = T\,\mathrm{softmax}(r / \tau)$, $r_t = \bar L_t(e-1) / \bar L_t(e-2)$.

    $\bar L_t(e)$ is the mean loss of task t over the steps of epoch e in which it had labels. In the first two epochs
    the weights are 1. An epoch without labels for a task is ignored for that task. Losses must be positive. A training
    loop other than `fit` calls `end_epoch()` after each epoch.

    Needs: losses.
    Cost: one backward pass.
    Reference: Liu, Johns & Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019.

    Args:
        temperature: tau, greater than 0; 2 in the paper.
        name: Name of the layer.

    Raises:
        ValueError: if `temperature` is not positive.

    Example:

    >>> float(mtl.balancing.DWA()(np.array([0.5, 1.0, 2.0])))
    3.5
    """

    lowest_loss = 0.0

    def __init__(self, temperature: float = 2.0, name: str | None = None):
        super().__init__(name=name)
        self.temperature = in_range("temperature", temperature, 0, open_low=True)

    def build(self, input_shape: tuple[int, ...]) -> None:
        self.total = self.add_state("total", input_shape)
        self.steps = self.add_state("steps", input_shape)
        self.last = self.add_state("last", input_shape)
        self.before_last = self.add_state("before_last", input_shape)

    def call(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the weighted sum of the losses [T]."""
        values = tf.stop_gradient(tf.cast(losses, tf.float32))
        self.total.assign(self.total + values)
        self.steps.assign(self.steps + tf.cast(values != 0, tf.float32))
        last, before_last = tf.convert_to_tensor(self.last), tf.convert_to_tensor(self.before_last)
        rates = tf.where((last == 0) | (before_last == 0), 1.0, tf.math.divide_no_nan(last, before_last))
        weights = losses.shape[0] * tf.nn.softmax(rates / self.temperature)
        return tf.reduce_sum(tf.cast(weights, losses.dtype) * losses)

    def end_epoch(self) -> None:
        """Record the mean losses of the epoch that has ended."""
        steps, last = tf.convert_to_tensor(self.steps), tf.convert_to_tensor(self.last)
        mean = tf.math.divide_no_nan(tf.convert_to_tensor(self.total), steps)
        self.before_last.assign(tf.where(steps > 0, last, self.before_last))
        self.last.assign(tf.where(steps > 0, mean, last))
        self.total.assign(tf.zeros_like(mean))
        self.steps.assign(tf.zeros_like(mean))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}
