"""The pairwise logistic loss of lists of candidates."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl.losses._list_loss import ListLoss, safe_ratio


@keras.saving.register_keras_serializable("tf_mtl")
class ListPairwiseLogistic(ListLoss):
    r"""Mean logistic loss over the pairs of a list's candidates that differ in relevance.

    $$l_b = \frac{\sum_{i, j:\, y_i > y_j} w_i \log(1 + e^{s_j - s_i})}{\sum_{i, j:\, y_i > y_j} w_i}$$

    over the candidates with a label; a pair counts by the weight of its more relevant candidate. A list without such a
    pair has the value 0. The sums over $j$ come from `keras_rs.losses.PairwiseLogisticLoss`. It returns one value per
    candidate, so on its own it gives long lists a larger weight and larger values.

    Args:
        name: Name of the loss.
        **kwargs: See `keras.losses.Loss`.

    Reference: Burges et al., "Learning to rank using gradient descent", ICML 2005.

    Example:

    >>> loss = mtl.losses.ListPairwiseLogistic()
    >>> loss.call(np.array([[2.0, 0.0, 1.0]]), np.zeros((1, 3), "float32")).numpy().round(4)
    array([0.6931], dtype=float32)
    """

    def __init__(self, name: str = "list_pairwise_logistic", **kwargs: Any):
        super().__init__(name=name, **kwargs)

    def list_losses(self, relevance: tf.Tensor, scores: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        """Return one value per list, [B]."""
        from keras_rs.losses import PairwiseLogisticLoss

        labels = tf.where(weight > 0, relevance, -1.0)  # keras-rs leaves negative ones out
        is_pair = (relevance[:, :, None] > relevance[:, None, :]) & (weight > 0)[:, None, :]
        pairs = tf.reduce_sum(weight * tf.reduce_sum(tf.cast(is_pair, weight.dtype), 2), 1)
        return safe_ratio(tf.reduce_sum(weight * PairwiseLogisticLoss().call(labels, scores), 1), pairs)
