"""Fast adaptive multitask optimization."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl.balancing._adam import Adam
from tf_mtl.balancing._base import Scalarizer
from tf_mtl.balancing._labelled import labelled, log, softmax


@keras.saving.register_keras_serializable("tf_mtl")
class FAMO(Scalarizer):
    r"""FAMO: weights under which all losses fall at the same relative rate, with one backward pass.

    With $D = L - b + 10^{-8}$ and $z = \mathrm{softmax}(v)$ the objective is $c \sum_t z_t \log D_t$, where
    $c = 1 / \sum_t (z_t / D_t)$ is treated as a constant: the weights are $c z_t / D_t$ and sum to 1. Let $D'$ be D of
    the same batch after the update. Then v [T] takes a step of Adam with weight decay on the gradient
    $(\partial z / \partial v)^\top (\log D - \log D')$. Tasks without labels are left out. Losses must be greater
    than b.

    Needs: losses, and those of the same batch after the update.
    Cost: one backward pass and one more forward pass, which leaves BatchNormalization, metrics and seeds alone.
    Reference: Liu et al., "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023.

    Args:
        learning_rate: Step size of v; 0.025 in the paper.
        decay: Weight decay of v, added to its gradient; 0.001 in the authors' code.
        minimum: b, a lower bound of all losses; 0 by default.
        name: Name of the layer.

    Raises:
        ValueError: if an argument is out of range.

    Example:

    >>> objective = mtl.balancing.FAMO()(np.array([1.0, 1.0]))
    >>> round(float(objective), 6)
    0.0
    """

    observes_update = True

    def __init__(
        self, learning_rate: float = 0.025, decay: float = 0.001, minimum: float = 0.0, name: str | None = None
    ):
        super().__init__(name=name)
        self.learning_rate = in_range("learning_rate", learning_rate, 0)
        self.decay = in_range("decay", decay, 0)
        self.minimum = self.lowest_loss = in_range("minimum", minimum, 0)

    def build(self, input_shape: tuple[int, ...]) -> None:
        self.logits = self.add_state("logits", input_shape)
        self.before = self.add_state("before", input_shape)
        self.adam = Adam(self, input_shape, self.learning_rate)

    def call(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the objective from the losses [T]."""
        distances = self._distances(losses)
        self.before.assign(tf.stop_gradient(tf.cast(distances, tf.float32)))
        z = softmax(tf.cast(self.logits, losses.dtype), labelled(distances))
        inverse = tf.stop_gradient(tf.reduce_sum(tf.math.divide_no_nan(z, distances)))
        return tf.math.divide_no_nan(tf.reduce_sum(z * log(distances)), inverse)

    def observe(self, losses: tf.Tensor) -> None:
        """Move the logits towards the tasks whose losses fell least, from the losses [T] after the update."""
        before, after = tf.convert_to_tensor(self.before), self._distances(tf.cast(losses, tf.float32))
        present = labelled(before) * labelled(after)
        fall = present * (log(before) - log(after))
        z = softmax(tf.convert_to_tensor(self.logits), present)
        gradient = z * (fall - tf.reduce_sum(z * fall)) + present * self.decay * self.logits
        self.logits.assign(self.logits + self.adam.change(gradient))

    def _distances(self, losses: tf.Tensor) -> tf.Tensor:
        return labelled(losses) * (losses - self.minimum + 1e-8)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "learning_rate": self.learning_rate,
            "decay": self.decay,
            "minimum": self.minimum,
        }
