"""Tagging of words."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._bio import Bio
from tf_mtl.layers import CRF, MaskScores
from tf_mtl.losses import CRFNegativeLogLikelihood
from tf_mtl.metrics import SpanF1
from tf_mtl.tasks._base import layer_output
from tf_mtl.tasks._crossentropy import Crossentropy
from tf_mtl.tasks._head_arguments import class_names
from tf_mtl.tasks._sequence_task import SequenceTask
from tf_mtl.tasks._words_of_texts import substrings, word_offsets
from tf_mtl.text import LocatedTexts


@keras.saving.register_keras_serializable("tf_mtl")
class Tagging(SequenceTask):
    """One of C tags for each word: logits [B, W, C] from a sequence, with sparse categorical cross-entropy per word.

    `SequenceTask` describes what the head reads and what a word is.

    Labels are tag indices, or tags, [B, W]. Label weights are 0 where a label is missing, [B, W], or [B] for whole
    sentences. Positions after the last word never count. Metrics: `accuracy` over words, and `span_f1` with BIO tags.

    With `crf=True`, the output is that of `tf_mtl.layers.CRF`, [B, W + C + 2, C], the loss is its negative
    log-likelihood, and the tags are those of the most probable path. With BIO tags, an I-x in this path only follows
    B-x or I-x.

    Decoded: `tags` and their probabilities `scores`, both [B, W]; "" and 0 after the last word. With BIO tags also the
    spans, in their order: `span_types`; `span_begins` and `span_ends`, the index of the first word and the index after
    the last; and `span_scores`, the mean score of the words. They are [B, W], with "", -1 and 0 after the last span. An
    I-x that does not continue a span of type x begins one. With the texts (see `MultiTaskModel.decode`) also `words`,
    `span_texts`, and `span_byte_begins` and `span_byte_ends`, offsets into the UTF-8 text.

    Args:
        name: The task's name.
        labels: The tags; with scheme "none" also their number.
        scheme: "BIO" for spans marked by B-x, I-x and O; "none" for independent tags, such as parts of speech.
        crf: Whether a conditional random field scores whole tag sequences (Lample et al., "Neural architectures for
            named entity recognition", NAACL 2016).
        class_weights: `{tag: factor}`, by which the loss of a word with this tag is multiplied; 1 for other tags.
        label_smoothing: The probability that the loss spreads evenly over all tags.
        focal: The exponent gamma of the focal loss (Lin et al., ICCV 2017); 0 for the cross-entropy.
        **kwargs: See `SequenceTask` and `Task`.

    Raises:
        ValueError: for another scheme, tags that are not BIO tags with scheme "BIO", fewer than two tags, or options
            that are not supported together.

    Example:

    >>> task = mtl.tasks.Tagging("entities", labels=["O", "B-place", "I-place"])
    >>> answer = task.decode(9.0 * np.eye(3)[[[0, 1, 2, 0]]])
    >>> answer["tags"].numpy().tolist()
    [[b'O', b'B-place', b'I-place', b'O']]
    >>> [(answer[key][0, 0].numpy()) for key in ("span_types", "span_begins", "span_ends")]
    [b'place', np.int32(1), np.int32(3)]
    """

    locates_in = LocatedTexts

    def __init__(
        self,
        name: str,
        labels: Sequence[str] | int,
        scheme: str = "BIO",
        crf: bool = False,
        class_weights: Mapping[str, float] | None = None,
        label_smoothing: float = 0.0,
        focal: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(name, **kwargs)
        if scheme not in ("BIO", "none"):
            raise ValueError(f"`scheme` of task '{name}' must be 'BIO' or 'none', received {scheme!r}.")
        self.labels = class_names(name, labels)
        self.scheme = scheme
        self.crf = crf
        if crf and (class_weights or label_smoothing or focal):
            raise ValueError(
                f"`class_weights`, `label_smoothing` and `focal` of task '{name}' are options of the cross-entropy per "
                "word, which is not the loss of a CRF. Leave them out, or set crf=False."
            )
        self._crossentropy = Crossentropy(name, self.labels, class_weights, label_smoothing, focal)
        self._bio = Bio(self.labels, f"task '{name}'") if scheme == "BIO" else None

    @property
    def output_units(self) -> int:
        """The number of tags."""
        return len(self.labels)

    @property
    def loss(self) -> keras.losses.Loss:
        """Sparse categorical cross-entropy per word, or the negative log-likelihood of the CRF."""
        return CRFNegativeLogLikelihood() if self.crf else self._crossentropy.loss()

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return accuracy over words, and with BIO tags the F1 of spans."""
        accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        return [accuracy] if self._bio is None else [accuracy, SpanF1(self.labels)]

    def marked(self, scores: keras.KerasTensor, mask: keras.KerasTensor | None) -> keras.KerasTensor:
        """Return the marked scores, or the output of the CRF for them."""
        if not self.crf:
            return super().marked(scores, mask)
        return CRF(name=self.name)(MaskScores(name=f"{self.name}_emissions")(scores, mask=mask))

    def readable(self, output: keras.KerasTensor, part: str) -> keras.KerasTensor:
        """Return the words' scores [B, W, C], their probabilities, or the hidden features, zero where no word is.

        With a CRF, these are the scores before it, and their softmax.
        """
        scores = layer_output(output, f"{self.name}_emissions") if self.crf else output
        return super().readable(scores, part)

    def probabilities(self, output: keras.KerasTensor) -> keras.KerasTensor:
        """Return the symbolic probabilities."""
        return keras.layers.Softmax(dtype="float32", name=f"{self.name}_probabilities")(output)

    def valid_mask(self, output: tf.Tensor) -> tf.Tensor:
        """Return which positions contain a word, [B, W]."""
        return super().valid_mask(output[:, : -self.output_units - 2] if self.crf else output)

    def predictions(self, output: tf.Tensor) -> tf.Tensor:
        """Return scores [B, W, C]; with a CRF, 1 for the tag on the most probable path and 0 for the others."""
        return tf.one_hot(self._tags(output)[0], self.output_units) if self.crf else output

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `tags` and `scores` [B, W], and with BIO tags the spans."""
        output = tf.cast(output, tf.float32)
        tags, valid = self._tags(output)
        probabilities = CRF.marginals(output, valid) if self.crf else tf.nn.softmax(output)
        scores = tf.where(valid, tf.gather(probabilities, tags, batch_dims=2), 0.0)
        answer = {"tags": tf.where(valid, tf.gather(tf.constant(self.labels), tags), ""), "scores": scores}
        return answer if self._bio is None else {**answer, **_spans(self._bio, tags, valid, scores)}

    def locate(self, answer: Mapping[str, tf.Tensor], located: LocatedTexts) -> dict[str, tf.Tensor]:
        """Return `words`, and with BIO tags `span_texts`, `span_byte_begins` and `span_byte_ends`; all [B, W]."""
        begins, ends = word_offsets(located, tf.shape(answer["tags"])[1])
        words = {"words": substrings(located.texts, answer["tags"] != "", begins, ends)}
        if self._bio is None:
            return words
        is_span = answer["span_begins"] >= 0
        first = tf.gather(begins, tf.maximum(answer["span_begins"], 0), batch_dims=1)
        last = tf.gather(ends, tf.maximum(answer["span_ends"] - 1, 0), batch_dims=1)
        return {
            **words,
            "span_texts": substrings(located.texts, is_span, first, last),
            "span_byte_begins": tf.where(is_span, first, -1),
            "span_byte_ends": tf.where(is_span, last, -1),
        }

    def distillation_loss(self, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Return the cross-entropy with the teacher's probabilities, one value per word.

        With a CRF, it is the loss with the teacher's most probable path as the labels (Kim & Rush, "Sequence-level
        knowledge distillation", EMNLP 2016).
        """
        if self.crf:
            tags, valid = self._tags(target)
            return self.loss.call(tf.where(valid, tags, -1), output)
        return tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(target), output)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "labels": self.labels,
            "scheme": self.scheme,
            "crf": self.crf,
            **self._crossentropy.config,
        }

    def _tags(self, output):
        """The tags [B, W], and which positions contain a word."""
        valid = self.valid_mask(output)
        if not self.crf:
            return tf.argmax(output, -1, tf.int32), valid
        rules = (None, None) if self._bio is None else (self._bio.allowed, self._bio.allowed_first)
        return CRF.viterbi(output, valid, *rules), valid


def _spans(bio: Bio, tags: tf.Tensor, valid: tf.Tensor, scores: tf.Tensor) -> dict[str, tf.Tensor]:
    """The spans in tags [B, W], with those of each row moved to its first positions."""
    spans = bio.spans(tf.where(valid, tags, bio.outside))
    width = tf.shape(tags)[1]
    positions = tf.range(width)
    order = tf.argsort(tf.where(spans.starts, positions, positions + width), 1)
    is_span = positions < tf.reduce_sum(tf.cast(spans.starts, tf.int32), 1, keepdims=True)
    score_sums = tf.math.unsorted_segment_sum(scores, spans.segments, tf.size(tags) + tf.shape(tags)[0])
    means = tf.math.divide_no_nan(tf.gather(score_sums, spans.segments), tf.cast(spans.lengths, tf.float32))
    types, lengths, means = (tf.gather(x, order, batch_dims=1) for x in (spans.types, spans.lengths, means))
    return {
        "span_types": tf.where(is_span, tf.gather(tf.constant(bio.types), types), ""),
        "span_begins": tf.where(is_span, order, -1),
        "span_ends": tf.where(is_span, order + lengths, -1),
        "span_scores": tf.where(is_span, means, 0.0),
    }
