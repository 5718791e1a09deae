"""Fair resource allocation among gradients."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl.balancing import _solvers
from tf_mtl.balancing._base import Weighting
from tf_mtl.balancing._preference import Preference, WithPreference


@keras.saving.register_keras_serializable("tf_mtl")
class FairGrad(WithPreference, Weighting):
    r"""FairGrad: alpha-fair gains for the tasks, $G w = (w / p)^{-1/\alpha}$ with w > 0.

    A task's gain is $g_t \cdot d$. Alpha 1 gives proportional fairness (`NashMTL` without its limit); a large alpha
    maximizes the smallest gain. p is the tasks' importance, 1 in the paper. Unless alpha is 1, the direction depends on
    the gradients' lengths. A task whose gradient is zero, such as one without labels, is left out.

    Needs: the Gramian.
    Cost: one backward pass per task.
    Reference: Ban & Ji, "Fair Resource Allocation in Multi-Task Learning", ICML 2024.

    Args:
        alpha: Fairness, from 0.3 to 10, the range in which the solver converges to 1e-6; 2 in the authors' experiments.
        preference: p, the tasks' importance: `{task: importance}`, or a list in their order. Scaled to the mean 1.
            For numbers that differ by more than a factor of 100, the solution may be less accurate than to 1e-6.
        name: Name of the layer.

    Raises:
        ValueError: if `alpha` is out of range, or a number in `preference` is not positive.

    Example:

    >>> mtl.balancing.FairGrad(alpha=1.0)(np.diag([4.0, 1.0])).numpy().round(4).tolist()
    [0.5, 1.0]
    """

    def __init__(self, alpha: float = 2.0, preference: Preference = None, name: str | None = None):
        super().__init__(preference, name)
        self.alpha = in_range("alpha", alpha, 0.3, 10)

    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian [T, T]."""
        return tf.cast(_solvers.proportional_fairness(gramian, self.alpha, self.positive_importance()), gramian.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha}
