"""Multi-objective gradient correction."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl.balancing import _simplex
from tf_mtl.balancing._base import Aggregator


@keras.saving.register_keras_serializable("tf_mtl")
class MoCo(Aggregator):
    r"""MoCo: simplex weights that approach MGDA's by one projected step per batch, on moving averages of the gradients.

    $Y \leftarrow Y + \beta (J - Y)$ and $\lambda \leftarrow \Pi_\Delta(\lambda - \gamma (Y Y^\top \lambda + \rho
    \lambda))$; the direction is $Y^\top \lambda$. Y starts at 0, and lambda at $1/T$. If a task's gradient is zero, as
    without labels, its row of Y does not change and is left out of the direction, and the weights of the other tasks
    sum to 1 at that step. LibMTL differs from the paper: it scales gradients by losses, and uses a softmax instead of
    the projection.

    Needs: the Jacobian.
    Cost: one backward pass per task, and state of the Jacobian's size.
    Reference: Fernando et al., "Mitigating Gradient Bias in Multi-objective Learning: A Provably Convergent Stochastic
        Approach", ICLR 2023.

    Args:
        beta: Weight of the new gradients, in (0, 1]; 0.1 in the authors' code.
        gamma: Step size of the weights, at least 0; 0.1 in the authors' code.
        rho: Regularization of the weights, at least 0; 0.1 in the authors' code.
        name: Name of the layer.

    Raises:
        ValueError: if an argument is out of range.

    Example:

    >>> mtl.balancing.MoCo(beta=1.0, gamma=0.0)(np.array([[2.0, 0], [0, 4]])).numpy().tolist()
    [1.0, 2.0]
    """

    has_jacobian_state = True

    def __init__(self, beta: float = 0.1, gamma: float = 0.1, rho: float = 0.1, name: str | None = None):
        super().__init__(name=name)
        self.beta = in_range("beta", beta, 0, 1, open_low=True)
        self.gamma = in_range("gamma", gamma, 0)
        self.rho = in_range("rho", rho, 0)

    def build(self, input_shape: tuple[int, ...]) -> None:
        size = input_shape[0]
        self.rows = self.add_state("rows", input_shape)
        self.simplex = self.add_state("simplex", (size,), keras.initializers.Constant(1 / size))

    def call(self, jacobian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return the direction [P] from the Jacobian [T, P], and update the state."""
        gradients, rows = tf.cast(jacobian, tf.float32), tf.convert_to_tensor(self.rows)
        present = tf.reduce_any(gradients != 0, 1)
        rows += tf.where(present[:, None], self.beta * (gradients - rows), 0)
        self.rows.assign(rows)

        def step(point: tf.Tensor) -> tf.Tensor:
            slope = tf.linalg.matvec(rows, tf.linalg.matvec(rows, point, transpose_a=True))
            return point - self.gamma * (slope + self.rho * point)

        weights, point = _simplex.move_on_simplex(tf.convert_to_tensor(self.simplex), present, step)
        self.simplex.assign(point)
        weights = tf.where(present, weights, 0)
        return tf.cast(tf.linalg.matvec(rows, weights, transpose_a=True), jacobian.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta": self.beta, "gamma": self.gamma, "rho": self.rho}
