"""Dual-balancing for multi-task learning."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl.balancing._base import Aggregator
from tf_mtl.balancing._labelled import labelled, log


@keras.saving.register_keras_serializable("tf_mtl")
class DBMTL(Aggregator):
    r"""DB-MTL: gradients of the logarithms of the losses, averaged over steps and scaled to the largest norm.

    Y starts at 0. At step k, $Y \leftarrow \beta_k Y + (1 - \beta_k) J$ with $\beta_k = \beta / k^\sigma$, and
    $d = \sum_t (\max_i \lVert y_i \rVert / \lVert y_t \rVert) y_t$. In a model, J and the gradients of the tasks' own
    variables are those of $\log(L_t + 10^{-8})$; outside a model, J is used unchanged. If a task's gradient is zero, as
    without labels, its row of Y does not change and is left out of d. Losses must be positive.

    Needs: the Jacobian, and losses.
    Cost: one backward pass per task, and state of the Jacobian's size where beta > 0.
    Reference: Lin et al., "Dual-Balancing for Multi-Task Learning", 2023.

    Args:
        beta: Weight of the past gradients, in [0, 1); 0.9 in LibMTL. 0: no moving average.
        sigma: Decay of that weight over the steps, at least 0; 0 in LibMTL.
        name: Name of the layer.

    Raises:
        ValueError: if an argument is out of range.

    Example:

    >>> mtl.balancing.DBMTL(beta=0.0)(np.array([[2.0, 0], [0, 4]])).numpy().tolist()
    [4.0, 4.0]
    """

    lowest_loss = 0.0

    def __init__(self, beta: float = 0.9, sigma: float = 0.0, name: str | None = None):
        super().__init__(name=name)
        self.beta = in_range("beta", beta, 0, 1, open_high=True)
        self.sigma = in_range("sigma", sigma, 0)
        self.has_jacobian_state = beta > 0

    def build(self, input_shape: tuple[int, ...]) -> None:
        if self.has_jacobian_state:
            self.rows = self.add_state("rows", input_shape)
            self.steps = self.add_state("steps", ())

    def transform(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the logarithms of the losses [T]; 0 for tasks without labels."""
        return log(losses + 1e-8 * labelled(losses))

    def call(self, jacobian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return the direction [P] from the Jacobian [T, P] of the logarithms, and update the state."""
        rows = self._average(jacobian) if self.has_jacobian_state else jacobian
        norms = tf.where(tf.reduce_any(jacobian != 0, 1), tf.norm(rows, axis=1), 0)
        weights = tf.math.divide_no_nan(tf.reduce_max(norms), norms)
        return tf.linalg.matvec(rows, weights, transpose_a=True)

    def _average(self, jacobian: tf.Tensor) -> tf.Tensor:
        self.steps.assign(self.steps + 1)
        decay = self.beta / self.steps**self.sigma
        gradients, rows = tf.cast(jacobian, tf.float32), tf.convert_to_tensor(self.rows)
        present = tf.reduce_any(gradients != 0, 1, keepdims=True)
        rows = tf.where(present, decay * rows + (1 - decay) * gradients, rows)
        self.rows.assign(rows)
        return tf.cast(rows, jacobian.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta": self.beta, "sigma": self.sigma}
