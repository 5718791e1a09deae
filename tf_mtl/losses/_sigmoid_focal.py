"""The focal loss of binary labels."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range


@keras.saving.register_keras_serializable("tf_mtl")
class SigmoidFocal(keras.losses.Loss):
    r"""The focal loss from logits, one value per cell, which gives well classified cells little weight.

    $$l = -\alpha_t (1 - p_t)^\gamma \log p_t$$

    where $p_t$ is the probability of the cell's label, and $\alpha_t$ is $\alpha$ for positive cells and $1 - \alpha$
    for the others.

    Args:
        gamma: The exponent $\gamma$; 0 gives the cross-entropy. The default is the paper's.
        alpha: The balance $\alpha$, from 0 to 1; None for $\alpha_t = 1$. The default is the paper's.
        reduction: See `keras.losses.Loss`.
        name: Name of the loss.
        dtype: See `keras.losses.Loss`.

    Raises:
        ValueError: if a number is out of range.

    Reference: Lin et al., "Focal loss for dense object detection", ICCV 2017.

    Example:

    >>> loss = mtl.losses.SigmoidFocal(gamma=2.0, alpha=None)
    >>> loss.call(np.array([[1.0, 1.0]]), np.array([[0.0, 4.0]])).numpy().round(4).tolist()
    [[0.1733, 0.0]]
    """

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: float | None = 0.25,
        reduction: str = "sum_over_batch_size",
        name: str = "sigmoid_focal",
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype)
        self.gamma = in_range("gamma", gamma, 0)
        self.alpha = None if alpha is None else in_range("alpha", alpha, 0, 1)

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """Return the loss of each cell, [...], from labels in [0, 1] and logits, both [...]."""
        y_pred = tf.convert_to_tensor(y_pred)
        y_true = tf.cast(y_true, y_pred.dtype)
        crossentropy = tf.nn.sigmoid_cross_entropy_with_logits(y_true, y_pred)
        others = y_true * tf.sigmoid(-y_pred) + (1 - y_true) * tf.sigmoid(y_pred)  # 1 - p_t
        others = tf.maximum(others, 1e-7)  # the gradient of a power below 1 has no limit at 0
        balance = 1.0 if self.alpha is None else self.alpha * y_true + (1 - self.alpha) * (1 - y_true)
        return balance * others**self.gamma * crossentropy

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gamma": self.gamma, "alpha": self.alpha}
