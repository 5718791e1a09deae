"""Classification into ordered levels."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.layers._ordered_thresholds import OrderedThresholds
from tf_mtl.losses import OrdinalCrossentropy
from tf_mtl.metrics import QuadraticWeightedKappa
from tf_mtl.tasks._base import Task
from tf_mtl.tasks._head_arguments import class_names


@keras.saving.register_keras_serializable("tf_mtl")
class Ordinal(Task):
    r"""One of K ordered levels: K - 1 logits of exceeding each level but the last, with CORAL's loss.

    All thresholds share one score of the features, and their order holds by construction: $z_0 \ge z_1 \ge \dots$
    Labels are levels from 0 to K - 1, or their names, [B] or [B, 1]; from a sequence or map they have its positions as
    well. Metrics: `mae`, in levels, and `kappa`, the quadratic weighted kappa. Decoded: `level`, the number of
    thresholds that are exceeded with a probability above 1/2, `label`, its name, and `score`, the expected level, a
    number from 0 to K - 1; all [B].

    Args:
        name: The task's name.
        levels: The names of the levels in increasing order, or their number.
        **kwargs: See `Task`.

    Raises:
        ValueError: for fewer than three levels, for which `BinaryClassification` is meant, or duplicate names.

    Reference: Cao, Mirjalili & Raschka, "Rank consistent ordinal regression for neural networks with application to age
    estimation", Pattern Recognition Letters 2020.

    Example:

    >>> task = mtl.tasks.Ordinal("pain", levels=["none", "some", "much"])
    >>> answer = task.decode(np.array([[2.0, -1.0]]))
    >>> answer["level"].numpy().tolist(), answer["label"].numpy().tolist()
    ([1], [b'some'])
    """

    def __init__(self, name: str, levels: Sequence[str] | int, **kwargs: Any):
        super().__init__(name, **kwargs)
        self.labels = class_names(name, levels, least=3, argument="levels")

    @property
    def output_units(self) -> int:
        """The number of thresholds between levels, K - 1."""
        return len(self.labels) - 1

    @property
    def loss(self) -> keras.losses.Loss:
        """The binary cross-entropies of all thresholds, summed."""
        return OrdinalCrossentropy()

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return the mean absolute error in levels, and the quadratic weighted kappa."""
        return [keras.metrics.MeanAbsoluteError(name="mae"), QuadraticWeightedKappa(len(self.labels))]

    def output_layer(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the logits [..., K - 1] of exceeding the thresholds."""
        score = self.dense(1, f"{self.name}_score", use_bias=False)(x)
        return OrderedThresholds(self.output_units, dtype="float32", name=self.name)(score)

    def predictions(self, output: tf.Tensor) -> tf.Tensor:
        """Return the predicted levels [..., 1]."""
        return tf.reduce_sum(tf.cast(output > 0, tf.float32), -1, keepdims=True)

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `level`, `label` and `score`, all [...], from logits [..., K - 1]."""
        output = tf.cast(output, tf.float32)
        level = tf.cast(self.predictions(output)[..., 0], tf.int32)
        score = tf.reduce_sum(tf.sigmoid(output), -1)
        return {"level": level, "label": tf.gather(tf.constant(self.labels), level), "score": score}

    def probabilities(self, output: keras.KerasTensor) -> keras.KerasTensor:
        """Return the symbolic probabilities of exceeding the thresholds."""
        return keras.layers.Activation("sigmoid", dtype="float32", name=f"{self.name}_probabilities")(output)

    def distillation_loss(self, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Return the cross-entropies with the teacher's probabilities, one value per row."""
        return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(tf.sigmoid(target), output), -1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "levels": self.labels}
