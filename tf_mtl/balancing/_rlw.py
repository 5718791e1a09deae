"""Random loss weighting."""

import keras
import tensorflow as tf

from tf_mtl.balancing._base import Scalarizer
from tf_mtl.balancing._labelled import labelled, softmax
from tf_mtl.balancing._random import WithSeed, normal


@keras.saving.register_keras_serializable("tf_mtl")
class RLW(WithSeed, Scalarizer):
    r"""Random loss weighting: $\sum_t w_t L_t$ with $w = \mathrm{softmax}(z)$, $z \sim N(0, I)$ drawn at each step.

    The weights sum to 1 over the tasks that have labels.

    Needs: losses.
    Cost: one backward pass.
    Reference: Lin et al., "Reasonable Effectiveness of Random Weighting", TMLR 2022.

    Args:
        seed: Seed of the random numbers; by default one that `keras.utils.set_random_seed` determines.
        name: Name of the layer.

    Raises:
        ValueError: if `seed` is not a non-negative integer.

    Example:

    >>> float(mtl.balancing.RLW()(np.array([2.0, 2.0])))
    2.0
    """

    def call(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the randomly weighted sum of the losses [T]."""
        noise = tf.cast(normal(losses.shape[0], self.seeds.next()), losses.dtype)
        return tf.reduce_sum(softmax(noise, labelled(losses)) * losses)
