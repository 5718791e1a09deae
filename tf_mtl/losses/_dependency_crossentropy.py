"""Cross-entropy of heads and relations."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tf_mtl")
class DependencyCrossentropy(keras.losses.Loss):
    r"""The loss of `tf_mtl.tasks.DependencyParse`: cross-entropies of a word's head and of the relation to this head.

    $$l_{bj} = -\log p(h_{bj}) - \log p(r_{bj} \mid h_{bj})$$

    for word $j$ with the head $h$ and the relation $r$, where $p$ is the softmax of the scores of all heads, or of all
    relations to the head.

    Args:
        reduction: See `keras.losses.Loss`.
        name: Name of the loss.
        dtype: See `keras.losses.Loss`.

    Reference: Dozat & Manning, "Deep biaffine attention for neural dependency parsing", ICLR 2017.

    Example:

    >>> loss = mtl.losses.DependencyCrossentropy()
    >>> output = np.zeros((1, 2, 3, 5), "float32")  # two words, hence three heads, and four relations
    >>> values = loss.call(np.array([[[0, 3], [1, 0]]]), output)[0]  # log 3 + log 4
    >>> [round(float(value), 4) for value in values]
    [2.4849, 2.4849]
    """

    def __init__(
        self, reduction: str = "sum_over_batch_size", name: str = "dependency_crossentropy", dtype: Any = None
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype)

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """Return the loss of each word, [B, W].

        Args:
            y_true: The head and the relation's index of each word, [B, W, 2]; head 0 is the root, head i word i - 1.
            y_pred: The scores of arcs and relations, [B, W, W + 1, 1 + R].
        """
        y_pred = tf.convert_to_tensor(y_pred)
        heads, relations = tf.unstack(tf.cast(y_true, tf.int32), axis=-1)
        of_head = tf.gather(y_pred, heads, batch_dims=2)
        cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits
        return cross_entropy(heads, y_pred[..., 0]) + cross_entropy(relations, of_head[..., 1:])
