"""Weights learned from a validation stream."""

import keras
import tensorflow as tf

from tf_mtl.balancing._adam import Adam
from tf_mtl.balancing._arguments import Preference, importance, in_range, preferred
from tf_mtl.balancing._base import Scalarizer


@keras.saving.register_keras_serializable("tf_mtl")
class AutoLambda(Scalarizer):
    r"""Auto-Lambda: loss weights that lower the loss on other batches after a step of training.

    With $\theta' = \theta - \alpha \nabla_\theta \sum_t \lambda_t L_t$, where alpha is the optimizer's learning rate,
    and $d = \nabla_{\theta'} \sum_t p_t L_t^{\mathrm{val}}(\theta')$, the weights' gradient is
    $-\alpha (L_t(\theta + \epsilon d) - L_t(\theta - \epsilon d)) / 2 \epsilon$, $\epsilon = 0.01 / \lVert d \rVert$,
    for a step of Adam; then the objective is $\sum_t \lambda_t L_t$. The forward passes of this leave
    BatchNormalization, metrics and seeds alone.

    Needs: losses, and validation batches.
    Cost: five forward and three backward passes.
    Reference: Liu et al., "Auto-Lambda: Disentangling Dynamic Task Relationships", TMLR 2022.

    Args:
        validation: A `tf.data.Dataset` of batches such as `fit` takes; it is repeated. The paper draws them from the
            training data. Must be set again on a loaded model: `model.balancing.validation = ...`.
        learning_rate: Step size of the weights; 1e-4 in the authors' code.
        initial: First value of every weight; 0.1 in the authors' code.
        preference: p, the tasks' importance in the validation loss, such as 0 for auxiliary tasks:
            `{task: importance}`, or a list in their order. Scaled to the mean 1.
        name: Name of the layer.

    Raises:
        TypeError: if `validation` is no data set.
        ValueError: if an argument is out of range, or, in `fit`, without `validation`.

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
        super().__init__(name=name)
        if validation is not None and not isinstance(validation, tf.data.Dataset):
            raise TypeError(f"`validation` must be a tf.data.Dataset of batches, received {validation!r}.")
        self.validation = validation
        self.learning_rate = in_range("learning_rate", learning_rate, 0)
        self.initial = in_range("initial", initial, 0)
        self.preference = preferred(preference)

    def build(self, input_shape):
        self.importance = importance(self.preference, self.tasks, input_shape[0]) * input_shape[0]
        self.loss_weights = self.add_state("loss_weights", input_shape, keras.initializers.Constant(self.initial))
        self.adam = Adam(self, input_shape, self.learning_rate)

    def call(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the weighted sum of the losses [T]."""
        return tf.reduce_sum(tf.cast(self.loss_weights, losses.dtype) * losses)

    def learn(self, gradient: tf.Tensor) -> None:
        """Take a step on the weights by the validation loss' gradient, [T]."""
        self.loss_weights.assign(self.loss_weights + self.adam.change(gradient))

    def get_config(self):
        return {
            **super().get_config(),
            "learning_rate": self.learning_rate,
            "initial": self.initial,
            "preference": self.preference,
        }
