"""Krum, which is robust to outlying gradients."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl.balancing._base import Weighting


@keras.saving.register_keras_serializable("tf_mtl")
class Krum(Weighting):
    r"""Krum and Multi-Krum: the mean of the gradients that are closest to other gradients.

    A task's score is the sum of the squared distances from its gradient to the T - f - 2 nearest ones. The m tasks with
    the lowest scores get the weight 1/m, the others 0, which leaves out even infinite and NaN gradients. A gradient
    that is not finite, or whose square is not, is the furthest from all others. All gradients count, including those
    that are zero.

    Needs: the Gramian.
    Cost: one backward pass per task.
    Reference: Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent", NeurIPS 2017.

    Args:
        byzantine: f, the number of tasks whose gradients may be arbitrary, even NaN; 0 by default. T must be at least
            f + 3. A task's own variables get its own gradient all the same.
        selected: m, the number of tasks in the mean; 1 by default.
        name: Name of the layer.

    Raises:
        ValueError: if an argument is out of range; in `compile`, if there are too few tasks.

    Example:

    >>> jacobian = np.array([[1.0, 0], [1, 0.1], [-9, 0]])
    >>> mtl.balancing.Krum(selected=2)(jacobian @ jacobian.T).numpy().tolist()
    [0.5, 0.5, 0.0]
    """

    is_robust = True

    def __init__(self, byzantine: int = 0, selected: int = 1, name: str | None = None):
        super().__init__(name=name)
        self.byzantine = integer("byzantine", byzantine, 0)
        self.selected = integer("selected", selected, 1)

    def build(self, input_shape: tuple[int, ...]) -> None:
        least = max(self.byzantine + 3, self.selected)
        if input_shape[0] < least:
            raise ValueError(
                f"Krum(byzantine={self.byzantine}, selected={self.selected}) needs at least {least} tasks, received "
                f"{input_shape[0]}. Lower `byzantine` or `selected`, or use another method."
            )

    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian [T, T]."""
        size = gramian.shape[0]
        squares = tf.linalg.diag_part(gramian)
        distances = squares[:, None] + squares - 2 * gramian
        furthest = gramian.dtype.max
        distances = tf.where(tf.math.is_finite(distances), distances, furthest)
        distances = tf.linalg.set_diag(distances, tf.fill([size], furthest))
        scores = tf.reduce_sum(tf.sort(distances, 1)[:, : size - self.byzantine - 2], 1)
        best = tf.argsort(scores, stable=True)[: self.selected]
        return tf.reduce_sum(tf.one_hot(best, size, dtype=gramian.dtype), 0) / self.selected

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "byzantine": self.byzantine, "selected": self.selected}
