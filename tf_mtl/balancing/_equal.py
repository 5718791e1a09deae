"""Equal weights: the sum of the losses."""

import keras
import tensorflow as tf

from tf_mtl.balancing._base import Scalarizer


@keras.saving.register_keras_serializable("tf_mtl")
class Equal(Scalarizer):
    r"""Equal weights: the sum of the tasks' losses, $\sum_t L_t$, which is what plain Keras minimizes.

    Needs: losses.
    Cost: one backward pass.
    Reference: Caruana, "Multitask Learning", Machine Learning 28, 1997.

    Example:

    >>> float(mtl.balancing.Equal()(np.array([0.5, 1.0, 2.0])))
    3.5
    """

    weights_are_constant = True

    def call(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the sum of the losses [T]."""
        return tf.reduce_sum(losses)
