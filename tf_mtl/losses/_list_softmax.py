"""The softmax cross-entropy of lists of candidates."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl.layers._mask_scores import MASKED
from tf_mtl.losses._list_loss import ListLoss, safe_ratio


@keras.saving.register_keras_serializable("tf_mtl")
class ListSoftmax(ListLoss):
    r"""Cross-entropy of a list's scores with its relevances, divided by their sum, as the distribution.

    $$l_b = -\frac{\sum_i w_i\, y_i \log p_i}{\sum_i w_i\, y_i}, \qquad p_i = \frac{e^{s_i}}{\sum_j e^{s_j}}$$

    over the candidates with a label. A list without a relevant candidate has the value 0. keras-rs lacks this loss: its
    `ListMLELoss` is the likelihood of a whole order.

    Args:
        name: Name of the loss.
        **kwargs: See `keras.losses.Loss`.

    Reference: Bruch et al., "An analysis of the softmax cross entropy loss for learning-to-rank with binary relevance",
    ICTIR 2019.

    Example:

    >>> loss = mtl.losses.ListSoftmax()
    >>> loss.call(np.array([[1.0, 0.0, -1.0]]), np.zeros((1, 3), "float32")).numpy().round(4)
    array([0.6931], dtype=float32)
    """

    def __init__(self, name: str = "list_softmax", **kwargs: Any):
        super().__init__(name=name, **kwargs)

    def list_losses(self, relevance: tf.Tensor, scores: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        """Return one value per list, [B]."""
        log_probabilities = tf.nn.log_softmax(tf.where(weight > 0, scores, MASKED))
        counted = weight * relevance
        return safe_ratio(-tf.reduce_sum(counted * log_probabilities, 1), tf.reduce_sum(counted, 1))
