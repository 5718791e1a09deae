"""Weights learned from validation batches."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl.balancing._adam import Adam
from tf_mtl.balancing._base import Scalarizer
from tf_mtl.balancing._preference import Preference, WithPreference


@keras.saving.register_keras_serializable("tf_mtl")
class AutoLambda(WithPreference, Scalarizer):
    r"""Auto-Lambda: loss weights learned so that a training step lowers the loss on validation batches.

    With $\theta' = \theta - \alpha \nabla_\theta \sum_t \lambda_t L_t$, where alpha is the optimizer's learning rate,
    and $d = \nabla_{\theta'} \sum_t p_t L_t^{\mathrm{val}}(\theta')$, the weights' gradient is
    $-\alpha (L_t(\theta + \epsilon d) - L_t(\theta - \epsilon d)) / 2 \epsilon$, $\epsilon = 0.01 / \lVert d \rVert$,
    on which Adam takes a step; then the objective is $\sum_t \lambda_t L_t$. The additional forward passes do not
    change BatchNormalization, metrics and seeds.

    Needs: losses, and validation batches.
    Cost: five forward and three backward passes.
    Reference: Liu et al., "Auto-Lambda: Disentangling Dynamic Task Relationships", TMLR 2022.

    Args:
        validation: A `tf.data.Dataset` of batches as `fit` takes them; it is repeated. The paper draws them from the
            training data. It must be set again on a loaded model: `model.balancing.validation = ...`.
        learning_rate: Step size of Adam; 1e-4 in the authors' code.
        initial: Initial value of every weight; 0.1 in the authors' code.
        preference: p, the tasks' importance in the validation loss, such as 0 for auxiliary tasks:
            `{task: importance}`, or a list in their order. Scaled to the mean 1.
        name: Name of the layer.

    Raises:
        TypeError: if `validation` is not a `tf.data.Dataset`.
        ValueError: if an argument is out of range; in `fit`, if `validation` is missing.

    Example:

    >>> round(float(mtl.balancing.AutoLambda()(np.array([0.5, 1.0, 2.0]))), 6)
    0.35
    """

    needs_validation = True

    def __init__(
        self,
        validation: tf.data.Dataset | None = None,
        learning_rate: float = 1e-4,
        initial: float = 0.1,
        preference: Preference = None,
        name: str | None = None,
    ):
        super().__init__(preference, name)
        if validation is not None and not isinstance(validation, tf.data.Dataset):
            raise TypeError(f"`validation` must be a tf.data.Dataset of batches, received {validation!r}.")
        self.validation = validation
        self.learning_rate = in_range("learning_rate", learning_rate, 0)
        self.initial = in_range("initial", initial, 0)

    def build(self, input_shape: tuple[int, ...]) -> None:
        super().build(input_shape)
        self.importance = self.importance * input_shape[0]
        self.loss_weights = self.add_state("loss_weights", input_shape, keras.initializers.Constant(self.initial))
        self.adam = Adam(self, input_shape, self.learning_rate)

    def call(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the weighted sum of the losses [T]."""
        return tf.reduce_sum(tf.cast(self.loss_weights, losses.dtype) * losses)

    def learn(self, gradient: tf.Tensor) -> None:
        """Update the weights with the gradient [T] of the validation loss with respect to them."""
        self.loss_weights.assign(self.loss_weights + self.adam.change(gradient))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "learning_rate": self.learning_rate, "initial": self.initial}
