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
    the lowest scores get the weight 1/m, the others 0. All gradients count, including those that are zero.

    Needs: the Gramian.
    Cost: one backward pass per task.
    Reference: Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent", NeurIPS 2017.

    Args:
        byzantine: f, the number of tasks whose gradients may be arbitrary; 0 by default. T must be at least f + 3.
        selected: m, the number of tasks in the mean; 1 by default.
        name: Name of the layer.

    Raises:
        ValueError: if an argument is out of range; in `compile`, if there are too few tasks.

    Example:

    >>> jacobian = np.array([[1.0, 0], [1, 0.1], [-9, 0]])
    >>> mtl.balancing.Krum(selected=2)(jacobian @ jacobian.T).numpy().tolist()
    [0.5, 0.5, 0.0]
    """

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
        distances = tf.linalg.set_diag(squares[:, None] + squares - 2 * gramian, tf.fill([size], gramian.dtype.max))
        scores = tf.reduce_sum(tf.sort(distances, 1)[:, : size - self.byzantine - 2], 1)
        best = tf.argsort(scores, stable=True)[: self.selected]
        return tf.reduce_sum(tf.one_hot(best, size, dtype=gramian.dtype), 0) / self.selected

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "byzantine": self.byzantine, "selected": self.selected}
