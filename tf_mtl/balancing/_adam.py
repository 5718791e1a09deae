"""Adam for a method's few weights, which the model's optimizer does not see."""

import tensorflow as tf

from tf_mtl.balancing._base import Balancing


class Adam:
    """Kingma & Ba 2015 with betas 0.9 and 0.999; state lies with the method that owns it.

    Args:
        owner: The method whose weights are learned, in its `build`.
        shape: Shape of the weights.
        learning_rate: The step size.
    """

    def __init__(self, owner: Balancing, shape: tuple[int, ...], learning_rate: float):
        self._learning_rate = learning_rate
        self._mean = owner.add_state("gradient_mean", shape)
        self._square = owner.add_state("gradient_square", shape)
        self._steps = owner.add_state("steps", ())

    def change(self, gradient: tf.Tensor) -> tf.Tensor:
        """Return what to add to the weights."""
        self._steps.assign(self._steps + 1)
        self._mean.assign(0.9 * self._mean + 0.1 * gradient)
        self._square.assign(0.999 * self._square + 0.001 * gradient**2)
        mean = self._mean / (1 - 0.9**self._steps)
        square = self._square / (1 - 0.999**self._steps)
        return -self._learning_rate * mean / (tf.sqrt(square) + 1e-8)
