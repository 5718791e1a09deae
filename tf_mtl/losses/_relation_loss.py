"""The loss of relations, of which the output also holds the words' tags."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._shapes import match_rank
from tf_mtl.losses._cellwise_binary_crossentropy import CellwiseBinaryCrossentropy


@keras.saving.register_keras_serializable("tf_mtl")
class RelationLoss(keras.losses.Loss):
    """The loss of `tf_mtl.tasks.Relations`: another loss of the R relations of each pair of words.

    It ignores the last value of each pair in the output [B, W, W, R + 1], the tag of a word.

    Args:
        loss: The loss of labels and logits, both [B, W, W, R], with one value per cell, such as `SigmoidFocal`; None
            for `CellwiseBinaryCrossentropy()`.
        name: Name of the loss.
        **kwargs: See `keras.losses.Loss`.

    Example:

    >>> loss = mtl.losses.RelationLoss(mtl.losses.SigmoidFocal(gamma=2.0))
    >>> loss.call(np.ones((1, 2, 2, 3)), np.zeros((1, 2, 2, 4))).shape
    TensorShape([1, 2, 2, 3])
    """

    def __init__(self, loss: keras.losses.Loss | None = None, name: str = "relation_loss", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.loss = CellwiseBinaryCrossentropy() if loss is None else loss

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """Return the loss of each cell, [B, W, W, R], from labels of this shape and an output."""
        y_pred = tf.convert_to_tensor(y_pred)
        return self.loss.call(match_rank(tf.convert_to_tensor(y_true), len(y_pred.shape)), y_pred[..., :-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "loss": keras.saving.serialize_keras_object(self.loss)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "RelationLoss":
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})
