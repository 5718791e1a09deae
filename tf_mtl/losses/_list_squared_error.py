"""The squared error of lists of candidates."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl.losses._list_loss import ListLoss, safe_ratio


@keras.saving.register_keras_serializable("tf_mtl")
class ListSquaredError(ListLoss):
    r"""Mean squared difference of scores and relevances over a list's candidates.

    $$l_b = \frac{\sum_i w_i\, (y_i - s_i)^2}{\sum_i w_i}$$

    over the candidates with a label.

    Args:
        name: Name of the loss.
        **kwargs: See `keras.losses.Loss`.

    Reference: Cossock & Zhang, "Subset ranking using regression", COLT 2006.

    Example:

    >>> loss = mtl.losses.ListSquaredError()
    >>> loss.call(np.array([[3.0, 0.0, -1.0]]), np.array([[1.0, 0.0, 5.0]], "float32")).numpy().tolist()
    [2.0]
    """

    def __init__(self, name: str = "list_squared_error", **kwargs: Any):
        super().__init__(name=name, **kwargs)

    def list_losses(self, relevance: tf.Tensor, scores: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        """Return one value per list, [B]."""
        errors = tf.math.squared_difference(relevance, scores)
        return safe_ratio(tf.reduce_sum(weight * errors, 1), tf.reduce_sum(weight, 1))
