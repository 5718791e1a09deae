"""Gradient normalization."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl.balancing._adam import Adam
from tf_mtl.balancing._base import Weighting


@keras.saving.register_keras_serializable("tf_mtl")
class GradNorm(Weighting):
    r"""GradNorm: weights that bring gradients to the same length, or to a greater length for tasks that train slowly.

    w starts at 1. Each call takes one step of Adam that reduces $\sum_t |w_t \lVert g_t \rVert - \bar g\, r_t^\alpha|$,
    where $\bar g$ is the mean of $w_t \lVert g_t \rVert$, and $r_t$ is $L_t / L_t(0)$ divided by its mean; both are
    treated as constants. The new w, scaled to the sum T, is used at the next step. $L_t(0)$ is the task's first loss.
    The gradients are those of all shared variables. Tasks without labels are left out. Losses must be positive.

    Needs: the Gramian's diagonal, and losses.
    Cost: one backward pass per task.
    Reference: Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks",
        ICML 2018.

    Args:
        alpha: Strength of the pull towards equal training rates, at least 0; 1.5 in the paper.
        learning_rate: Step size of Adam; 0.025 in the paper.
        name: Name of the layer.

    Raises:
        ValueError: if an argument is out of range.

    Example:

    >>> method = mtl.balancing.GradNorm()
    >>> for step in range(2):
    ...     weights = method(np.diag([4.0, 1.0]), losses=np.array([1.0, 1.0]))
    >>> weights.numpy().round(3).tolist()
    [0.975, 1.025]
    """

    lowest_loss = 0.0

    def __init__(self, alpha: float = 1.5, learning_rate: float = 0.025, name: str | None = None):
        super().__init__(name=name)
        self.alpha = in_range("alpha", alpha, 0)
        self.learning_rate = in_range("learning_rate", learning_rate, 0)

    def build(self, input_shape: tuple[int, ...]) -> None:
        size = input_shape[0]
        self.weights_now = self.add_state("weights", (size,), "ones")
        self.first_losses = self.add_state("first_losses", (size,))
        self.adam = Adam(self, (size,), self.learning_rate)

    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian [T, T] and the losses [T], and update the state."""
        if losses is None:
            raise ValueError("GradNorm needs `losses`: call it with (gramian, losses=...).")
        norms = tf.cast(tf.sqrt(tf.nn.relu(tf.linalg.diag_part(gramian))), tf.float32)
        losses = tf.cast(losses, tf.float32)
        first = tf.convert_to_tensor(self.first_losses)
        first = tf.where(first == 0, losses, first)
        self.first_losses.assign(first)
        weights = tf.convert_to_tensor(self.weights_now)
        _, slope = self.imbalance(weights, norms, tf.nn.relu(tf.math.divide_no_nan(losses, first)))
        updated = tf.maximum(weights + self.adam.change(slope), 1e-6)
        self.weights_now.assign(updated * (updated.shape[0] / tf.reduce_sum(updated)))
        return tf.cast(weights, gramian.dtype)

    def imbalance(self, weights: tf.Tensor, norms: tf.Tensor, progress: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the targets [T] of the weighted norms, and the gradient [T] with respect to w of the distance to them.

        Args:
            weights: w, [T].
            norms: The gradients' norms, [T].
            progress: L / L(0), [T].
        """
        present = tf.cast(norms != 0, norms.dtype)
        count = tf.reduce_sum(present)
        mean = tf.math.divide_no_nan(tf.reduce_sum(weights * norms), count)
        rates = tf.math.divide_no_nan(progress * count, tf.reduce_sum(present * progress))
        targets = present * mean * rates**self.alpha
        return targets, tf.sign(weights * norms - targets) * norms

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha, "learning_rate": self.learning_rate}
