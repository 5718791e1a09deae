"""The base of tasks that write texts."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._arguments import in_range, integer
from tf_mtl._keys import TOKEN_TABLE
from tf_mtl._shapes import match_rank
from tf_mtl.encoders import CausalEncoder
from tf_mtl.layers import Decoder
from tf_mtl.layers._text_logits import TextLogits, up_to_end
from tf_mtl.losses import ClassCrossentropy
from tf_mtl.metrics import Perplexity
from tf_mtl.samplers import Greedy, Sampler
from tf_mtl.tasks._base import Task
from tf_mtl.tasks._metric_of_tokens import MetricOfTokens
from tf_mtl.tasks._raw_labels import EncodedLabels, TextRecords
from tf_mtl.text import _tokenizers
from tf_mtl.text._pieces import detokenized, text_ends, tokenized

_TRUNCATED = "Texts that a task is to write are longer than its `length` and were truncated: {counts}."


def check_decoder(task: str, decoder: Any) -> None:
    """Raise unless it is a decoder.

    Raises:
        TypeError: naming the task.
    """
    if not isinstance(decoder, (Decoder, CausalEncoder)):
        raise TypeError(
            f"`decoder` of task '{task}' must be a tf_mtl.layers.Decoder or a tf_mtl.encoders.CausalEncoder, received "
            f"{decoder!r}."
        )


class TextTask(Task):
    """A task that writes a text: logits [B, T, V] from a decoder, with cross-entropy per token.

    In training and evaluation, the decoder reads the labels so far from an input of the task's own, `<name>_tokens`,
    which is filled from the labels. Without it, in `predict`, answers and exports, it generates a text: the output then
    is the tokens and their log-probabilities, float32 [B, `length`, 2].

    Subclasses define `memory`, what the decoder reads. For the arguments see `tf_mtl.tasks.Generation`.
    """

    reads_all_positions = False  # those behind the end say nothing

    def __init__(
        self,
        name: str,
        tokenizer: Any,
        length: int = 64,
        decoder: Decoder | CausalEncoder | None = None,
        start: str | None = None,
        label_smoothing: float = 0.0,
        sampler: Sampler | None = None,
        tied: bool = False,
        text_metrics: Sequence[keras.metrics.Metric] = (),
        features: str | None = None,
        **kwargs: Any,
    ):
        if decoder is not None:
            check_decoder(name, decoder)
        super().__init__(name, features=features or (decoder or Decoder).reads, **kwargs)
        if self.kernel_regularizer is not None:
            raise ValueError(f"`kernel_regularizer` of task '{name}' is not supported: its head is a decoder.")
        _tokenizers.check_tokenizer(tokenizer)
        self.tokenizer = tokenizer
        self.length = integer("length", length, 1)
        self.decoder = decoder
        self.start = start
        self.label_smoothing = in_range("label_smoothing", label_smoothing, 0, 1, open_high=True)
        self.sampler = Greedy() if sampler is None else sampler
        self.tied = bool(tied)
        self.text_metrics = list(text_metrics) if isinstance(text_metrics, Sequence) else [text_metrics]
        self._ends = text_ends(tokenizer, start)
        wrong = [metric for metric in self.text_metrics if not isinstance(metric, keras.metrics.Metric)]
        if wrong:
            raise TypeError(
                f"`text_metrics` of task '{name}' must be a list of metrics, such as [tf_mtl.metrics.Bleu()], received "
                f"{wrong[0]!r}."
            )
        taken = {"loss", *(metric.name for metric in self.metrics())} & {metric.name for metric in self.text_metrics}
        if taken:
            raise ValueError(
                f"`text_metrics` of task '{name}' has the name of another metric, {sorted(taken)}: rename."
            )
        if not isinstance(self.sampler, Sampler):
            raise TypeError(f"`sampler` of task '{name}' must be one of tf_mtl.samplers, received {sampler!r}.")
        if decoder is not None and (decoder.vocabulary_size, decoder.length) != (self.output_units, self.length):
            raise ValueError(
                f"`decoder` of task '{name}' must have vocabulary_size={self.output_units}, as `tokenizer`, and "
                f"length={self.length}, as the task; received {decoder.vocabulary_size} and {decoder.length}."
            )

    @property
    def output_units(self) -> int:
        """The number of token ids."""
        return self.tokenizer.vocabulary_size()

    @property
    def loss(self) -> keras.losses.Loss:
        """Cross-entropy per token."""
        if self.label_smoothing:
            return ClassCrossentropy(label_smoothing=self.label_smoothing)
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return perplexity and the accuracy of tokens."""
        return [Perplexity(), keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def answer_metrics(self) -> list[keras.metrics.Metric]:
        """Return the metrics of generated texts."""
        return [
            MetricOfTokens(type(metric).from_config(metric.get_config()), self.tokenizer, self._ends)
            for metric in self.text_metrics
        ]

    def own_inputs(self) -> dict[str, keras.KerasTensor]:
        """Return the tokens of the text, [B, T]."""
        name = self._tokens_name
        return {name: keras.Input((None,), dtype="int32", name=name, optional=True)}

    def fill_own_inputs(self, labels: Mapping[str, tuple[Any, Any]], training: bool) -> dict[str, tf.Tensor]:
        """Return the labels, and one token in place of all that have no label."""
        y, weight = labels[self.name]
        tokens = tf.clip_by_value(tf.cast(match_rank(tf.convert_to_tensor(y), 2), tf.int32), 0, self.output_units - 1)
        is_labelled = tf.ones_like(tokens, tf.bool)
        if weight is not None:
            is_labelled &= match_rank(tf.convert_to_tensor(weight), 2) > 0
            tokens = tf.where(is_labelled, tokens, self._unlabelled)
        lost = (is_labelled & up_to_end(tokens, self._ends.end))[:, self.length :]
        message = (
            f"`y['{self.name}']` must have at most `length` = {self.length} tokens of a text, its end included. "
            "Truncate the texts, or set a greater `length`."
        )
        if tf.executing_eagerly() and tf.reduce_any(lost):
            raise ValueError(message)
        with tf.control_dependencies([tf.debugging.assert_equal(tf.reduce_any(lost), False, message)]):
            return {self._tokens_name: tf.identity(tokens)}

    def encode_labels(self, labels: tf.Tensor | tf.RaggedTensor, records: TextRecords) -> EncodedLabels:
        """Return the tokens of texts, each with its end token, ragged int32 [B, (T)]; "" is a missing label.

        A longer text is truncated, and then has no end token.

        Raises:
            ValueError: for anything but texts.
        """
        if not isinstance(labels, tf.Tensor) or labels.dtype != tf.string or labels.shape.rank != 1:
            raise ValueError(
                f"The labels of task '{self.name}' must be texts, a string per record, received {labels.dtype} of the "
                f"shape {labels.shape}."
            )
        ids = tokenized(self.tokenizer, labels)
        is_labelled = labels != ""
        last = tf.RaggedTensor.from_row_lengths(
            tf.fill([tf.math.count_nonzero(is_labelled)], self._ends.end), tf.cast(is_labelled, tf.int64)
        )
        ids = tf.concat([ids, last], 1)
        truncated = int(np.count_nonzero(ids.row_lengths().numpy() > self.length))
        ids = ids[:, : self.length]
        return EncodedLabels(ids, tf.ones_like(ids, tf.float32), remarks={_TRUNCATED: truncated})

    def check_features(self, features: Mapping[str, keras.KerasTensor]) -> None:
        """Raise unless the encoder returns what the task reads, and is its decoder if that is a `CausalEncoder`.

        Raises:
            ValueError: naming the features, or the decoder.
        """
        super().check_features(features)
        source = features[self.features]._keras_history.operation
        if isinstance(self.decoder, CausalEncoder) and source is not self.decoder:
            raise ValueError(
                f"`decoder` of task '{self.name}' is the encoder '{self.decoder.name}', which the trunk must share as "
                f"a whole: mtl.trunks.HardSharing(encoder). The task's features come from layer '{source.name}'."
            )

    @abstractmethod
    def memory(self, features: Mapping[str, keras.KerasTensor]) -> tuple[keras.KerasTensor, Any]:
        """Return the sequence [B, S, D] that the decoder reads, and which of its positions count, or None for all."""

    def head(self, features: Mapping[str, keras.KerasTensor]) -> keras.KerasTensor:
        """Return the symbolic logits.

        Raises:
            ValueError: if the encoder does not return the features that the task reads.
        """
        memory, valid = self.memory(features)
        tokens = features[self._tokens_name]
        decoder = self.decoder or self._default_decoder(memory.shape[-1])
        table = features.get(TOKEN_TABLE) if self.tied else None
        if self.tied and table is None:
            raise ValueError(
                f"Task '{self.name}' reads features['{TOKEN_TABLE}'], but the encoder gives {sorted(features)}. Set "
                "`token_table=True` of the encoder and share it as a whole, with HardSharing, or set tied=False."
            )
        ends = self._ends._asdict()
        x = decoder(memory, valid=valid, tokens=tokens, table=table, **ends, sampler=self.sampler)
        return TextLogits(self._ends.end, name=self.name)(x, tokens)

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `text` [B] and `score` [B], the geometric mean of the probabilities of its tokens.

        From logits [B, T, V], the text is that of the most probable tokens.
        """
        output = tf.cast(output, tf.float32)
        if output.shape[-1] == 2:
            ids, log_probabilities = tf.cast(output[..., 0], tf.int32), output[..., 1]
        else:
            ids, log_probabilities = tf.argmax(output, -1, tf.int32), tf.reduce_max(tf.nn.log_softmax(output), -1)
        ids = tf.clip_by_value(ids, 0, self.output_units - 1)
        counts = tf.cast(up_to_end(ids, self._ends.end), tf.float32)
        mean = tf.math.divide_no_nan(tf.reduce_sum(counts * log_probabilities, 1), tf.reduce_sum(counts, 1))
        return {"text": detokenized(self.tokenizer, ids, self._ends), "score": tf.exp(mean)}

    def distillation_loss(self, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Return the cross-entropy with the teacher's probabilities, one value per token."""
        return tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(target), output)

    def use_layers_of(self, model: keras.Model) -> None:
        """Replace the decoder, which was made from the task's config, by the loaded model's."""
        if self.decoder is not None:
            self.decoder = model.get_layer(self.decoder.name)

    def _default_decoder(self, dim):
        heads = next(heads for heads in (4, 2, 1) if dim % heads == 0)
        return Decoder(self.output_units, self.length, dim, heads=heads, name=f"{self.name}_decoder")

    @property
    def _unlabelled(self):
        """What the decoder reads in place of a token without a label: no end, behind which nothing counts."""
        ends = self._ends
        return next(token for token in (ends.padding, ends.start, 0, 1) if token != ends.end)

    @property
    def _tokens_name(self):
        return f"{self.name}_tokens"

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "tokenizer": _tokenizers.to_config(self.tokenizer),
            "length": self.length,
            "decoder": None if self.decoder is None else keras.saving.serialize_keras_object(self.decoder),
            "start": self.start,
            "label_smoothing": self.label_smoothing,
            "tied": self.tied,
            "text_metrics": [keras.saving.serialize_keras_object(metric) for metric in self.text_metrics],
            "sampler": keras.saving.serialize_keras_object(self.sampler),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Task:
        """Return a task from `get_config`'s dict."""
        parts = {key: keras.saving.deserialize_keras_object(config[key]) for key in ("decoder", "sampler")}
        parts["text_metrics"] = [keras.saving.deserialize_keras_object(each) for each in config["text_metrics"]]
        tokenizer = _tokenizers.from_config(config["tokenizer"])
        return super().from_config({**config, **parts, "tokenizer": tokenizer})
