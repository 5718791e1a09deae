"""Binary cross-entropy with one value per cell, so that single labels of a row may be missing."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range


@keras.saving.register_keras_serializable("tf_mtl")
class CellwiseBinaryCrossentropy(keras.losses.Loss):
    r"""Binary cross-entropy from logits, one value per cell.

    $$l_{bc} = -p_c\, y_{bc} \log\sigma(z_{bc}) - (1 - y_{bc}) \log(1 - \sigma(z_{bc}))$$

    With label smoothing $\epsilon$, $y$ is replaced by $(1 - \epsilon) y + \epsilon / 2$.

    Keras' `BinaryCrossentropy` returns the mean over a row's classes, so a weight can only exclude whole rows.

    Args:
        pos_weight: The factor $p_c$ of positive cells: one number, or one for each class. Values above 1 trade
            precision for recall.
        label_smoothing: The label smoothing $\epsilon$.
        name: Name of the loss.
        **kwargs: See `keras.losses.Loss`.

    Example:

    >>> loss = mtl.losses.CellwiseBinaryCrossentropy()
    >>> loss.call(np.array([[1.0, 0.0]]), np.array([[0.0, 0.0]])).numpy().round(4).tolist()
    [[0.6931, 0.6931]]
    """

    def __init__(
        self,
        pos_weight: float | list[float] = 1.0,
        label_smoothing: float = 0.0,
        name: str = "binary_crossentropy",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self.pos_weight = pos_weight
        self.label_smoothing = in_range("label_smoothing", label_smoothing, 0, 1, open_high=True)

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """Return the loss of each cell, [B, C], from labels in [0, 1] and logits, both [B, C]."""
        y_pred = tf.convert_to_tensor(y_pred)
        y_true = (1 - self.label_smoothing) * tf.cast(y_true, y_pred.dtype) + self.label_smoothing / 2
        return tf.nn.weighted_cross_entropy_with_logits(y_true, y_pred, tf.cast(self.pos_weight, y_pred.dtype))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pos_weight": self.pos_weight, "label_smoothing": self.label_smoothing}
