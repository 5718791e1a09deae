"""Masked language modelling."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl._keys import SEQUENCE, TOKEN_TABLE
from tf_mtl.layers._tied_logits import TiedLogits
from tf_mtl.metrics import Perplexity
from tf_mtl.tasks._base import Task


@keras.saving.register_keras_serializable("tf_mtl")
class MaskedLM(Task):
    """Masked tokens: logits [B, S, V] from a sequence, with sparse categorical cross-entropy per masked token.

    It trains an encoder on texts without labels, beside other tasks or before them. `tf_mtl.data.mask_tokens` makes its
    data: masked token ids, the original ids as labels [B, S], and label weights [B, S], 1 at the masked positions.
    Metrics: `perplexity` and `accuracy` over masked positions. Decoded: `tokens`, the most probable ids, and their
    probabilities `scores`, both [B, S].

    The head is that of BERT: a dense layer with GELU and layer normalization, whose output is multiplied by the table
    of token embeddings. The encoder gives the table as the feature `token_table`:
    `encoders.TransformerEncoder(..., token_table=True)`, or `BackboneEncoder`. With `tied=False`
    the head has its own table.

    Args:
        name: The task's name.
        vocabulary_size: The number V of token ids.
        tied: Whether the head uses the encoder's table.
        features: The sequence that the head reads, a key of the encoder's dict of features.
        **kwargs: See `Task`.

    Raises:
        ValueError: if `vocabulary_size` is not an integer, at least 2.

    Reference: Devlin et al., "BERT: pre-training of deep bidirectional Transformers for language understanding", NAACL
    2019.

    Example:

    >>> encoder = mtl.encoders.TransformerEncoder(50, max_length=8, dim=16, layers=1, heads=2, token_table=True)
    >>> tasks = [mtl.tasks.MaskedLM("mlm", vocabulary_size=50), mtl.tasks.Classification("topic", labels=3)]
    >>> model = mtl.build_model(keras.Input((8,), dtype="int32"), mtl.trunks.HardSharing(encoder), tasks)
    >>> model.output["mlm"].shape
    (None, 8, 50)
    """

    def __init__(self, name: str, vocabulary_size: int, tied: bool = True, features: str = SEQUENCE, **kwargs: Any):
        super().__init__(name, features=features, **kwargs)
        self.vocabulary_size = integer("vocabulary_size", vocabulary_size, 2)
        self.tied = bool(tied)

    @property
    def output_units(self) -> int:
        """The number of token ids."""
        return self.vocabulary_size

    @property
    def loss(self) -> keras.losses.Loss:
        """Sparse categorical cross-entropy per token."""
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return perplexity and accuracy."""
        return [Perplexity(), keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def head(self, features: Mapping[str, keras.KerasTensor]) -> keras.KerasTensor:
        """Return the symbolic logits.

        Raises:
            ValueError: if the encoder does not return the features that the task reads, or a table of another shape.
        """
        if not self.tied:
            return super().head(features)
        table = features.get(TOKEN_TABLE)
        if table is None:
            raise ValueError(
                f"Task '{self.name}' reads features['{TOKEN_TABLE}'], but the encoder gives {sorted(features)}. Set "
                "`token_table=True` of the encoder and share it as a whole, with HardSharing, or set tied=False."
            )
        x = super().head(features)
        if tuple(table.shape) != (self.vocabulary_size, x.shape[-1]):
            raise ValueError(
                f"`vocabulary_size` of task '{self.name}' must be that of the encoder's table, which has the shape "
                f"{tuple(table.shape)}, received {self.vocabulary_size}."
            )
        return TiedLogits(name=self.name)([x, table])

    def output_layer(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the logits, or what the table is multiplied by."""
        if not self.tied:
            return super().output_layer(x)
        x = self.dense(x.shape[-1], f"{self.name}_transform", activation="gelu")(x)
        return keras.layers.LayerNormalization(dtype="float32", name=f"{self.name}_normalization")(x)

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `tokens` and `scores` [B, S]."""
        probabilities = tf.nn.softmax(tf.cast(output, tf.float32))
        return {"tokens": tf.argmax(output, -1, tf.int32), "scores": tf.reduce_max(probabilities, -1)}

    def distillation_loss(self, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Return the cross-entropy with the teacher's probabilities, one value per token."""
        return tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(target), output)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "vocabulary_size": self.vocabulary_size, "tied": self.tied}
