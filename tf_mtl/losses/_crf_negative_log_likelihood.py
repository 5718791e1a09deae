"""The loss of a conditional random field."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl.layers import CRF


@keras.saving.register_keras_serializable("tf_mtl")
class CRFNegativeLogLikelihood(keras.losses.Loss):
    r"""Negative log-likelihood of tags under `tf_mtl.layers.CRF`, divided evenly among the words of a sentence.

    $$l_{bt} = -\frac{1}{n_b} \log p(y_{b1}, \dots, y_{b n_b})$$

    for each of the $n_b$ words with a label, so that the mean over words is comparable to a cross-entropy per word. A
    label of -1 means that the label is missing: the word is left out of its sentence's path.

    Args:
        name: Name of the loss.
        **kwargs: See `keras.losses.Loss`.

    Example:

    >>> output = mtl.layers.CRF()(np.zeros((1, 3, 2), "float32"))
    >>> loss = mtl.losses.CRFNegativeLogLikelihood()
    >>> values = loss.call(np.array([[0, 1, -1]]), output)[0]  # log 2**2 over two words
    >>> [round(float(value), 4) for value in values]
    [0.6931, 0.6931, 0.0]
    """

    missing_label = -1  # replaces labels of weight 0, so that `call` can leave them out

    def __init__(self, name: str = "crf_negative_log_likelihood", **kwargs: Any):
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """Return the loss of each word, [B, S], from tag indices [B, S] and the layer's output."""
        y_true = tf.cast(y_true, tf.int32)
        tags = tf.reshape(y_true, tf.shape(y_true)[:2])
        has_label = tf.cast(tags >= 0, tf.float32)
        loss = CRF.negative_log_likelihood(y_pred, tf.maximum(tags, 0), has_label)
        return has_label * tf.math.divide_no_nan(loss, tf.reduce_sum(has_label, 1))[:, None]
