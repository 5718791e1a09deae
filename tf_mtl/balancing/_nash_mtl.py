"""Multi-task learning as a bargaining game."""

from typing import Any, Self

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl.balancing import _solvers
from tf_mtl.balancing._base import Weighting
from tf_mtl.balancing._preference import Preference, WithPreference


@keras.saving.register_keras_serializable("tf_mtl")
class NashMTL(WithPreference, Weighting):
    r"""Nash-MTL: the Nash bargaining solution, $G w = p / w$ with w > 0.

    p is the tasks' bargaining power, 1 in the paper. The direction does not depend on the gradients' lengths. Its own
    length is $\sqrt{T}$, limited to `max_norm`. A task whose gradient is zero, such as one without labels, is left out.

    Needs: the Gramian.
    Cost: one backward pass per task.
    Reference: Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022.

    Args:
        max_norm: Maximum length of the direction; 1 in the authors' code. None: no limit.
        preference: p, the tasks' importance: `{task: importance}`, or a list in their order. Scaled to the mean 1.
        name: Name of the layer.

    Raises:
        ValueError: if `max_norm` or a number in `preference` is not positive.

    Example:

    >>> mtl.balancing.NashMTL(max_norm=None)(np.diag([4.0, 1.0])).numpy().round(4).tolist()
    [0.5, 1.0]
    """

    def __init__(self, max_norm: float | None = 1.0, preference: Preference = None, name: str | None = None):
        super().__init__(preference, name)
        self.max_norm = max_norm if max_norm is None else in_range("max_norm", max_norm, 0, open_low=True)

    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian [T, T]."""
        weights = _solvers.proportional_fairness(gramian, 1.0, self.positive_importance())
        if self.max_norm is not None:
            square = tf.reduce_sum(weights * tf.linalg.matvec(tf.cast(gramian, tf.float64), weights))
            weights *= self.max_norm / tf.maximum(tf.sqrt(tf.nn.relu(square)), self.max_norm)
        return tf.cast(weights, gramian.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "max_norm": self.max_norm}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return a method from the dict of `get_config`. Version 0.1 also stored `every`, how often to solve."""
        config = dict(config)
        if config.pop("every", 1) != 1:
            raise ValueError("NashMTL(every=n) is no longer supported. Train the model again with Every(NashMTL(), n).")
        return cls(**config)
