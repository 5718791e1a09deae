"""Smooth Tchebycheff scalarization."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range, integer
from tf_mtl.balancing._base import Scalarizer
from tf_mtl.balancing._preference import Preference, WithPreference


@keras.saving.register_keras_serializable("tf_mtl")
class STCH(WithPreference, Scalarizer):
    r"""Smooth Tchebycheff scalarization: $\mu \log \sum_t \exp(w_t (L_t - z_t) / \mu)$, a smooth maximum.

    The sum is over the tasks that have labels. During the warm-up the objective is the weighted sum $\sum_t w_t L_t$. A
    training loop other than `fit` calls `end_epoch()` after each epoch.

    Needs: losses.
    Cost: one backward pass.
    Reference: Lin et al., "Smooth Tchebycheff Scalarization for Multi-Objective Optimization", ICML 2024.

    Args:
        mu: Smoothness, greater than 0; 1 in LibMTL. The smaller mu is, the closer the objective is to the maximum.
        warmup_epochs: The number of warm-up epochs. 4 in the authors' code, which learns a scale in a fifth.
        ideal: z, a lower bound of all losses; 0 by default.
        preference: w, the tasks' importance: `{task: importance}`, or a list in their order. Scaled to a mean of 1.
        name: Name of the layer.

    Raises:
        ValueError: if an argument is out of range.

    Example:

    >>> round(float(mtl.balancing.STCH()(np.array([1.0, 1.0]))), 6)  # 1 + log 2
    1.693147
    """

    def __init__(
        self,
        mu: float = 1.0,
        warmup_epochs: int = 0,
        ideal: float = 0.0,
        preference: Preference = None,
        name: str | None = None,
    ):
        super().__init__(preference, name)
        self.mu = in_range("mu", mu, 0, open_low=True)
        self.warmup_epochs = integer("warmup_epochs", warmup_epochs, 0)
        self.ideal = in_range("ideal", ideal, 0)

    def build(self, input_shape: tuple[int, ...]) -> None:
        super().build(input_shape)
        self.importance = self.importance * input_shape[0]
        self.epochs = self.add_state("epochs", ())

    def call(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the objective from the losses [T]."""
        weights = tf.constant(self.importance, losses.dtype)
        exponents = weights * (losses - self.ideal) / self.mu
        exponents = tf.where(losses == 0, losses.dtype.min, exponents)
        maximum = self.mu * tf.reduce_logsumexp(exponents)
        return tf.where(self.epochs < self.warmup_epochs, tf.reduce_sum(weights * losses), maximum)

    def end_epoch(self) -> None:
        """Count an epoch."""
        self.epochs.assign(self.epochs + 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mu": self.mu, "warmup_epochs": self.warmup_epochs, "ideal": self.ideal}
