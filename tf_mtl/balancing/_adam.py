"""Adam for a method's few weights, which the model's optimizer does not see."""

import tensorflow as tf

from tf_mtl.balancing._base import Balancing


class Adam:
    """Kingma & Ba 2015 with betas 0.9 and 0.999; state lies with the method that owns it.

    A weight whose gradient is zero stays, and so does its state: its task has no labels.

    Args:
        owner: The method whose weights are learned, in its `build`.
        shape: Shape of the weights.
        learning_rate: The step size.
    """

    def __init__(self, owner: Balancing, shape: tuple[int, ...], learning_rate: float):
        self._learning_rate = learning_rate
        self._mean = owner.add_state("gradient_mean", shape)
        self._square = owner.add_state("gradient_square", shape)
        self._steps = owner.add_state("steps", shape)

    def change(self, gradient: tf.Tensor) -> tf.Tensor:
        """Return what to add to the weights."""
        moved = tf.cast(gradient != 0, tf.float32)
        steps = self._steps + moved
        mean = self._mean + moved * 0.1 * (gradient - self._mean)
        square = self._square + moved * 0.001 * (gradient**2 - self._square)
        self._steps.assign(steps)
        self._mean.assign(mean)
        self._square.assign(square)
        mean = tf.math.divide_no_nan(mean, 1 - 0.9**steps)
        square = tf.math.divide_no_nan(square, 1 - 0.999**steps)
        return -self._learning_rate * moved * mean / (tf.sqrt(square) + 1e-8)
