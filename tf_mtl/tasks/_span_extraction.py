"""Extraction of a span from a text."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl.layers import MaskScores
from tf_mtl.layers._no_answer_first import NoAnswerFirst
from tf_mtl.losses import SpanCrossentropy
from tf_mtl.metrics import SpanExactMatch, SpanOverlapF1
from tf_mtl.tasks._encode_spans import encode_spans
from tf_mtl.tasks._raw_labels import EncodedLabels, TextRecords
from tf_mtl.tasks._sequence_task import SequenceTask
from tf_mtl.tasks._words_of_texts import substrings, word_offsets
from tf_mtl.text import LocatedTexts


@keras.saving.register_keras_serializable("tf_mtl")
class SpanExtraction(SequenceTask):
    """One span of words of a text, such as the answer to a question about it, or none.

    `SequenceTask` describes what the head reads and what a word is. In pairs of texts, the words are those of the
    first: let the text come first and the question second, `pair=("context", "question")`.

    The output [B, W + 1, 2] has the logits of the span's first and last word; those at position 0, from the feature
    `pooled`, are for no answer. Labels [B, 2] are the first and the last word, counted from 1; (0, 0) is no answer.
    `tf_mtl.data.encode_text` makes them from byte offsets. Label weights are [B]. Metrics: `exact_match` and `f1`, over
    words; `tf_mtl.metrics.squad_scores` gives those of SQuAD, over texts.

    Decoded: `begin` and `end`, the index of the best span's first word and the index after its last, -1 for no answer;
    and `score`, the product of the probabilities of both; all [B]. With the texts also `text`, "" for no answer, and
    `byte_begin` and `byte_end`, offsets into the UTF-8 text.

    Args:
        name: The task's name.
        max_length: The largest number of words of a decoded span; 30 as in BERT's code for SQuAD.
        no_answer: Whether a row may have no answer.
        **kwargs: See `SequenceTask` and `Task`.

    Raises:
        ValueError: if `max_length` is not a positive integer.

    Reference: Devlin et al., "BERT: pre-training of deep bidirectional Transformers for language understanding", NAACL
    2019.

    Example:

    >>> task = mtl.tasks.SpanExtraction("answer")
    >>> logits = np.array([[[0.0, 0.0], [5.0, 1.0], [0.0, 5.0], [1.0, 1.0]]])
    >>> answer = task.decode(logits)
    >>> int(answer["begin"][0]), int(answer["end"][0])
    (0, 2)
    """

    locates_in = LocatedTexts

    def __init__(self, name: str, max_length: int = 30, no_answer: bool = True, **kwargs: Any):
        super().__init__(name, **kwargs)
        self.max_length = integer("max_length", max_length, 1)
        self.no_answer = bool(no_answer)

    @property
    def output_units(self) -> int:
        """2, for the first and the last word."""
        return 2

    @property
    def loss(self) -> keras.losses.Loss:
        """The mean of the cross-entropies of the first and the last word."""
        return SpanCrossentropy()

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return exact match and F1 over words."""
        return [SpanExactMatch(), SpanOverlapF1()]

    def head(self, features: Mapping[str, keras.KerasTensor]) -> keras.KerasTensor:
        """Return the symbolic output.

        Raises:
            ValueError: if the encoder does not return a sequence, or `pooled` where a row may have no answer.
        """
        words = super().head(features)
        if not self.no_answer:
            return NoAnswerFirst(name=self.name)([words])
        if "pooled" not in features:
            raise ValueError(
                f"Task '{self.name}' reads features['pooled'] for rows without an answer, but the encoder gives "
                f"{sorted(features)}. Choose another encoder, or set no_answer=False."
            )
        none = self.dense(2, f"{self.name}_no_answer")(features["pooled"])
        return NoAnswerFirst(name=self.name)([words, none])

    def marked(self, scores: keras.KerasTensor, mask: keras.KerasTensor | None) -> keras.KerasTensor:
        """Return the words' scores, in which positions without a word are marked."""
        return MaskScores(name=f"{self.name}_marked")(scores, mask=mask)

    def readable(self, output: keras.KerasTensor, part: str) -> keras.KerasTensor:
        """Raise, since the output has one position more than there are words.

        Raises:
            ValueError: for every part.
        """
        raise ValueError(
            f"`after` names task '{self.name}', but other tasks cannot read a SpanExtraction. Remove it from `after`."
        )

    def encode_labels(self, labels: tf.Tensor, records: TextRecords) -> EncodedLabels:
        """Return the first and the last word of spans in byte offsets; see `tf_mtl.data.encode_text`."""
        return encode_spans(self.name, self.no_answer, labels, records)

    def valid_mask(self, output: tf.Tensor) -> None:
        """Return None: labels are one per row."""

    def predictions(self, output: tf.Tensor) -> tf.Tensor:
        """Return the best span, int32 [B, 2], as labels have it."""
        return self._best(tf.cast(output, tf.float32))[0]

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `begin`, `end` and `score`, all [B]."""
        spans, scores = self._best(tf.cast(output, tf.float32))
        is_answer = spans[:, 0] > 0
        begin, end = (tf.where(is_answer, index, -1) for index in (spans[:, 0] - 1, spans[:, 1]))
        return {"begin": begin, "end": end, "score": scores}

    def locate(self, answer: Mapping[str, tf.Tensor], located: LocatedTexts) -> dict[str, tf.Tensor]:
        """Return `text`, `byte_begin` and `byte_end`, all [B]."""
        is_answer = answer["begin"] >= 0
        offsets = word_offsets(located, tf.maximum(tf.reduce_max(tf.pad(answer["end"], [[0, 1]])), 1))
        first = tf.gather(offsets.begins, tf.maximum(answer["begin"], 0), batch_dims=1)
        last = tf.gather(offsets.ends, tf.maximum(answer["end"] - 1, 0), batch_dims=1)
        text = substrings(located.texts, is_answer[:, None], first[:, None], last[:, None])[:, 0]
        byte_begin, byte_end = (tf.where(is_answer, offset, -1) for offset in (first, last))
        return {"text": text, "byte_begin": byte_begin, "byte_end": byte_end}

    def distillation_loss(self, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Return the cross-entropies with the teacher's probabilities, one value per row."""
        target, output = (tf.transpose(x, [0, 2, 1]) for x in (target, output))
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(target), output), -1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "max_length": self.max_length, "no_answer": self.no_answer}

    def _best(self, output):
        """The best spans [B, 2] and their probabilities [B]."""
        logarithms = tf.nn.log_softmax(output, 1)
        positions = tf.range(tf.shape(output)[1])
        lengths = positions - positions[:, None] + 1
        is_span = (lengths >= 1) & (lengths <= self.max_length)
        is_span &= (positions > 0) == (positions[:, None] > 0)  # no answer lies at position 0 with both ends
        scores = logarithms[:, :, None, 0] + logarithms[:, None, :, 1]
        scores = tf.where(is_span, scores, tf.float32.min)
        best = tf.argmax(tf.reshape(scores, [tf.shape(output)[0], -1]), 1, tf.int32)
        size = tf.size(positions)
        spans = tf.stack([best // size, best % size], 1)
        return spans, tf.exp(tf.reduce_max(scores, [1, 2]))
