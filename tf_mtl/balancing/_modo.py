"""Multi-objective gradient with double sampling."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl.balancing import _simplex
from tf_mtl.balancing._base import Weighting


@keras.saving.register_keras_serializable("tf_mtl")
class MoDo(Weighting):
    r"""MoDo: simplex weights that approach MGDA's by one projected step per batch, from two independent samples.

    $\lambda \leftarrow \Pi_\Delta(\lambda - \gamma (J_1 J_2^\top \lambda + \rho \lambda))$ with the gradients on two
    halves of the batch; lambda starts at $1/T$. The update uses the gradients of the whole batch and the new weights.
    If a task lacks labels in one of the halves, its weight does not change, and those of the other tasks sum to 1.

    Needs: the Gramian of two halves of the batch.
    Cost: two backward passes per task.
    Reference: Chen et al., "Three-Way Trade-Off in Multi-Objective Learning: Optimization, Generalization and
        Conflict-Avoidance", NeurIPS 2023.

    Args:
        gamma: Step size of the weights, at least 0; 0.1 in the authors' code.
        rho: Regularization of the weights, at least 0; 0.1 in the authors' code.
        name: Name of the layer.

    Raises:
        ValueError: if an argument is out of range.

    Example:

    >>> mtl.balancing.MoDo()(np.diag([4.0, 1.0])).numpy().round(4).tolist()
    [0.425, 0.575]
    """

    needs_half_batches = True

    def __init__(self, gamma: float = 0.1, rho: float = 0.1, name: str | None = None):
        super().__init__(name=name)
        self.gamma = in_range("gamma", gamma, 0)
        self.rho = in_range("rho", rho, 0)

    def build(self, input_shape: tuple[int, ...]) -> None:
        size = input_shape[0]
        self.simplex = self.add_state("simplex", (size,), keras.initializers.Constant(1 / size))

    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian [T, T] of two halves of the batch, and update the state."""
        product = tf.cast(gramian, tf.float32)

        def step(point: tf.Tensor) -> tf.Tensor:
            return point - self.gamma * (tf.linalg.matvec(product, point) + self.rho * point)

        present = tf.linalg.diag_part(gramian) != 0
        weights, point = _simplex.move_on_simplex(tf.convert_to_tensor(self.simplex), present, step)
        self.simplex.assign(point)
        return tf.cast(weights, gramian.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gamma": self.gamma, "rho": self.rho}
