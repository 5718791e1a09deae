"""Adam for weights that a method learns without the model's optimizer."""

import tensorflow as tf

from tf_mtl.balancing._base import Balancing


class Adam:
    """The optimizer of Kingma & Ba 2015 with betas 0.9 and 0.999. Its state belongs to the method that owns it.

    Where a gradient is zero because the task has no labels, neither the weight nor its state changes.

    Args:
        owner: The method that learns the weights. Create the optimizer in its `build`.
        shape: Shape of the weights.
        learning_rate: The step size.
    """

    def __init__(self, owner: Balancing, shape: tuple[int, ...], learning_rate: float):
        self._learning_rate = learning_rate
        self._mean = owner.add_state("gradient_mean", shape)
        self._square = owner.add_state("gradient_square", shape)
        self._steps = owner.add_state("steps", shape)

    def change(self, gradient: tf.Tensor) -> tf.Tensor:
        """Return the change of the weights for their gradient, and update the state."""
        mask = tf.cast(gradient != 0, tf.float32)
        steps = self._steps + mask
        mean = self._mean + mask * 0.1 * (gradient - self._mean)
        square = self._square + mask * 0.001 * (gradient**2 - self._square)
        self._steps.assign(steps)
        self._mean.assign(mean)
        self._square.assign(square)
        mean = tf.math.divide_no_nan(mean, 1 - 0.9**steps)
        square = tf.math.divide_no_nan(square, 1 - 0.999**steps)
        return -self._learning_rate * mask * mean / (tf.sqrt(square) + 1e-8)
