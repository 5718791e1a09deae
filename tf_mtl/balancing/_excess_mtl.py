"""Multi-task learning by excess risks."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl.balancing._base import Aggregator


@keras.saving.register_keras_serializable("tf_mtl")
class ExcessMTL(Aggregator):
    r"""ExcessMTL: weights that grow with the tasks' excess risks, so that tasks with noisy labels do not dominate.

    $S \leftarrow S + J \circ J$ and $e_t = \sum_p g_{tp}^2 / \sqrt{S_{tp} + 10^{-7}}$. A task's first step sets
    $e_t(0)$. At each later step, $w_t \leftarrow w_t \exp(\eta\, e_t / e_t(0))$, scaled to the sum T. The direction is
    $J^\top w$. If a task's gradient is zero, as without labels, only the scaling changes its weight.

    Needs: the Jacobian.
    Cost: one backward pass per task, and state of the Jacobian's size.
    Reference: He et al., "Robust Multi-Task Learning with Excess Risks", ICML 2024.

    Args:
        eta: Step size of the weights, at least 0; 0.01 in the authors' code.
        name: Name of the layer.

    Raises:
        ValueError: if `eta` is negative.

    Example:

    >>> mtl.balancing.ExcessMTL()(np.array([[2.0, 0], [0, 4]])).numpy().tolist()
    [2.0, 4.0]
    """

    has_jacobian_state = True

    def __init__(self, eta: float = 0.01, name: str | None = None):
        super().__init__(name=name)
        self.eta = in_range("eta", eta, 0)

    def build(self, input_shape: tuple[int, ...]) -> None:
        self.squares = self.add_state("squares", input_shape)
        self.first = self.add_state("first", input_shape[:1])
        self.weights_now = self.add_state("weights", input_shape[:1], "ones")

    def call(self, jacobian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return the direction [P] from the Jacobian [T, P], and update the state."""
        square = tf.cast(jacobian, tf.float32) ** 2
        squares = self.squares + square
        self.squares.assign(squares)
        excess = tf.reduce_sum(square * tf.math.rsqrt(squares + 1e-7), 1)
        first, weights = tf.convert_to_tensor(self.first), tf.convert_to_tensor(self.weights_now)
        exponents = tf.math.log(weights) + self.eta * tf.math.divide_no_nan(excess, first)
        weights = weights.shape[0] * tf.nn.softmax(exponents)
        self.weights_now.assign(weights)
        self.first.assign(tf.where(first == 0, excess, first))
        return tf.linalg.matvec(jacobian, tf.cast(weights, jacobian.dtype), transpose_a=True)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "eta": self.eta}
