"""Multi-objective gradient correction."""

import keras
import tensorflow as tf

from tf_mtl.balancing import _solvers
from tf_mtl.balancing._arguments import in_range
from tf_mtl.balancing._base import Aggregator


@keras.saving.register_keras_serializable("tf_mtl")
class MoCo(Aggregator):
    r"""MoCo: simplex weights that follow MGDA's by one projected step, on moving averages of the gradients.

    $Y \leftarrow Y + \beta (J - Y)$ from 0, $\lambda \leftarrow \Pi_\Delta(\lambda - \gamma (Y Y^\top \lambda + \rho
    \lambda))$ from $1/T$, and the direction is $Y^\top \lambda$. A row of Y whose gradient is zero, as without labels,
    stays and is left out of the direction, and the others share the simplex. LibMTL differs from the paper: it scales
    gradients by losses and takes a softmax for the projection.

    Needs: the Jacobian.
    Cost: one backward pass per task, and state of the Jacobian's size.
    Reference: Fernando et al., "Mitigating Gradient Bias in Multi-objective Learning: A Provably Convergent Stochastic
        Approach", ICLR 2023.

    Args:
        beta: Share of the new gradients, in (0, 1]; 0.1 in the authors' code.
        gamma: Step size of the weights, not negative; 0.1 in the authors' code.
        rho: Regularization of the weights, not negative; 0.1 in the authors' code.
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

    def build(self, input_shape):
        size = input_shape[0]
        self.rows = self.add_state("rows", input_shape)
        self.simplex = self.add_state("simplex", (size,), keras.initializers.Constant(1 / size))

    def call(self, jacobian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return the direction [P] from the Jacobian [T, P], and update the state."""
        new, rows = tf.cast(jacobian, tf.float32), tf.convert_to_tensor(self.rows)
        present = tf.reduce_any(new != 0, 1)
        rows += tf.where(present[:, None], self.beta * (new - rows), 0)
        self.rows.assign(rows)

        def moved(point):
            slope = tf.linalg.matvec(rows, tf.linalg.matvec(rows, point, transpose_a=True))
            return point - self.gamma * (slope + self.rho * point)

        weights, point = _solvers.move_on_simplex(tf.convert_to_tensor(self.simplex), present, moved)
        self.simplex.assign(point)
        weights = tf.where(present, weights, 0)
        return tf.cast(tf.linalg.matvec(rows, weights, transpose_a=True), jacobian.dtype)

    def get_config(self):
        return {**super().get_config(), "beta": self.beta, "gamma": self.gamma, "rho": self.rho}
