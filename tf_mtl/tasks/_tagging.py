"""A tag for each word."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from tf_mtl._bio import Bio
from tf_mtl._keys import WORD_STARTS
from tf_mtl.layers import CRF, FirstSubwords, MaskScores
from tf_mtl.losses import CRFNegativeLogLikelihood
from tf_mtl.metrics import SpanF1
from tf_mtl.tasks._base import Task, class_names
from tf_mtl.text import LocatedTexts


@keras.saving.register_keras_serializable("tf_mtl")
class Tagging(Task):
    """One of C tags for each word: logits [B, W, C] from a sequence, sparse categorical cross-entropy of each word.

    The head reads the features `sequence` [B, S, D] and `mask`. Where the encoder gives `word_starts` as well, which
    marks each word's first sub-word (see `tf_mtl.text.Subwords`), these alone are kept, in order and without gaps, so
    that labels, outputs and answers belong to words, W = S of them at most; otherwise each position is a word.

    Labels are tag indices [B, W]; label weights are 0 where there is no label, [B, W], or [B] for whole sentences.
    What lies behind the last word never counts.
    Metrics: `accuracy` over words, and `span_f1` with BIO tags. With `crf=True` the output is that of
    `tf_mtl.layers.CRF`, [B, W + C + 2, C], the loss its negative log-likelihood, and tags are those of the likeliest
    path, in which with BIO tags no I-x follows anything but B-x or I-x.

    Decoded: `tags` and their probabilities, `scores`; both [B, W], "" and 0 where there is no word. With BIO tags also
    the spans, in their order: `span_types`, `span_begins` and `span_ends`, the indices of the first word and of that
    behind the last, and `span_scores`, the mean of their words'; all [B, W], "", -1 and 0 behind the last span. An I-x
    that does not go on with a span of type x begins one. With the texts (see `MultiTaskModel.decode`) also `words`,
    `span_texts`, and `span_byte_begins` and `span_byte_ends`, offsets into the UTF-8 text.

    Args:
        name: The task's name.
        labels: The tags; with scheme "none" also their number.
        scheme: "BIO" for spans marked by B-x, I-x and O; "none" for tags that stand alone, as parts of speech.
        crf: Whether a conditional random field scores tags together (Lample et al., "Neural architectures for named
            entity recognition", NAACL 2016).
        features: The sequence that the head reads.
        **kwargs: `hidden_units`, `dropout`; see `Task`.

    Raises:
        ValueError: for another scheme, tags that are not BIO where they should be, or fewer than two.

    Example:

    >>> task = mtl.tasks.Tagging("entities", labels=["O", "B-place", "I-place"])
    >>> answer = task.decode(9.0 * np.eye(3)[[[0, 1, 2, 0]]])
    >>> answer["tags"].numpy().tolist()
    [[b'O', b'B-place', b'I-place', b'O']]
    >>> [(answer[key][0, 0].numpy()) for key in ("span_types", "span_begins", "span_ends")]
    [b'place', np.int32(1), np.int32(3)]
    """

    labels_words = True

    def __init__(
        self,
        name: str,
        labels: Sequence[str] | int,
        scheme: str = "BIO",
        crf: bool = False,
        features: str = "sequence",
        **kwargs,
    ):
        super().__init__(name, features=features, **kwargs)
        if scheme not in ("BIO", "none"):
            raise ValueError(f"`scheme` of task '{name}' must be 'BIO' or 'none', received {scheme!r}.")
        self.labels = class_names(name, labels)
        self.scheme = scheme
        self.crf = crf
        self._bio = Bio(self.labels, f"task '{name}'") if scheme == "BIO" else None

    @property
    def output_units(self) -> int:
        """The number of tags."""
        return len(self.labels)

    @property
    def loss(self) -> keras.losses.Loss:
        """Cross-entropy of each word's logits, or the CRF's negative log-likelihood."""
        return CRFNegativeLogLikelihood() if self.crf else keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return accuracy over words, and the F1 of spans."""
        accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        return [accuracy] if self._bio is None else [accuracy, SpanF1(self.labels)]

    def head(self, features: Mapping[str, keras.KerasTensor]) -> keras.KerasTensor:
        """Return the task's symbolic output.

        Raises:
            ValueError: if the encoder does not give a sequence.
        """
        words, mask = dict(features), features.get("mask")
        if self.features in features and len(features[self.features].shape) != 3:
            raise ValueError(
                f"Task '{self.name}' reads a sequence [B, S, D], but features['{self.features}'] has the shape "
                f"{features[self.features].shape}. Set the task's `features`, or choose another encoder."
            )
        if self.features in features and WORD_STARTS in features:
            first = FirstSubwords(name=f"{self.name}_words")
            words[self.features], mask = first(features[self.features], features[WORD_STARTS])
        scores = super().head(words)
        marked = MaskScores(name=f"{self.name}_emissions" if self.crf else self.name)(scores, mask=mask)
        return CRF(name=self.name)(marked) if self.crf else marked

    def output_layer(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the tags' scores [B, W, C]."""
        return keras.layers.Dense(self.output_units, dtype="float32", name=f"{self.name}_scores")(x)

    def valid_mask(self, output: tf.Tensor) -> tf.Tensor:
        """Return which positions hold a word, [B, W]."""
        return MaskScores.valid_mask(output[:, : -self.output_units - 2] if self.crf else output)

    def predictions(self, output: tf.Tensor) -> tf.Tensor:
        """Return scores [B, W, C]; with a CRF 1 for the tag on the likeliest path and 0 for the others."""
        return tf.one_hot(self._tags(output)[0], self.output_units) if self.crf else output

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `tags` and `scores` [B, W], and with BIO tags `span_types` and so on."""
        output = tf.cast(output, tf.float32)
        tags, valid = self._tags(output)
        probabilities = CRF.marginals(output, valid) if self.crf else tf.nn.softmax(output)
        scores = tf.where(valid, tf.gather(probabilities, tags, batch_dims=2), 0.0)
        answer = {"tags": tf.where(valid, tf.gather(tf.constant(self.labels), tags), ""), "scores": scores}
        return answer if self._bio is None else {**answer, **self._spans(tags, valid, scores)}

    def locate(self, answer: Mapping[str, tf.Tensor], located: LocatedTexts) -> dict[str, tf.Tensor]:
        """Return `words`, and with BIO tags `span_texts`, `span_byte_begins` and `span_byte_ends`; all [B, W]."""
        width = tf.shape(answer["tags"])[1]
        padding = [[0, 0], [0, tf.maximum(0, width - tf.shape(located.begins)[1])]]
        begins, ends = (tf.pad(offsets, padding)[:, :width] for offsets in (located.begins, located.ends))
        words = {"words": _substrings(located.texts, answer["tags"] != "", begins, ends)}
        if self._bio is None:
            return words
        is_span = answer["span_begins"] >= 0
        first = tf.gather(begins, tf.maximum(answer["span_begins"], 0), batch_dims=1)
        last = tf.gather(ends, tf.maximum(answer["span_ends"] - 1, 0), batch_dims=1)
        return {
            **words,
            "span_texts": _substrings(located.texts, is_span, first, last),
            "span_byte_begins": tf.where(is_span, first, -1),
            "span_byte_ends": tf.where(is_span, last, -1),
        }

    def distillation_loss(self, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Return the cross-entropy of two models' logits, one value per word.

        With a CRF it is the loss of the other model's likeliest path (Kim & Rush, "Sequence-level knowledge
        distillation", EMNLP 2016).
        """
        if self.crf:
            tags, valid = self._tags(target)
            return self.loss.call(tf.where(valid, tags, -1), output)
        return tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(target), output)

    def get_config(self) -> dict:
        """Return the constructor's arguments."""
        return {**super().get_config(), "labels": self.labels, "scheme": self.scheme, "crf": self.crf}

    def _tags(self, output):
        """The tags [B, W], and which words are there."""
        valid = self.valid_mask(output)
        if not self.crf:
            return tf.argmax(output, -1, tf.int32), valid
        rules = (None, None) if self._bio is None else (self._bio.allowed, self._bio.allowed_first)
        return CRF.viterbi(output, valid, *rules), valid

    def _spans(self, tags, valid, scores):
        spans = self._bio.spans(tf.where(valid, tags, self._bio.outside))
        width = tf.shape(tags)[1]
        positions = tf.range(width)
        order = tf.argsort(tf.where(spans.starts, positions, positions + width), 1)
        is_span = positions < tf.reduce_sum(tf.cast(spans.starts, tf.int32), 1, keepdims=True)
        sums = tf.math.unsorted_segment_sum(scores, spans.segments, tf.size(tags) + tf.shape(tags)[0])
        means = tf.math.divide_no_nan(tf.gather(sums, spans.segments), tf.cast(spans.lengths, tf.float32))
        types, lengths, means = (tf.gather(x, order, batch_dims=1) for x in (spans.types, spans.lengths, means))
        return {
            "span_types": tf.where(is_span, tf.gather(tf.constant(self._bio.types), types), ""),
            "span_begins": tf.where(is_span, order, -1),
            "span_ends": tf.where(is_span, order + lengths, -1),
            "span_scores": tf.where(is_span, means, 0.0),
        }


def _substrings(texts, valid, begins, ends):
    """The parts of texts [B] between offsets [B, W], "" where these are not valid."""
    begins, sizes = tf.where(valid, begins, 0), tf.where(valid, ends - begins, 0)
    return tf.strings.substr(tf.broadcast_to(texts[:, None], tf.shape(begins)), begins, sizes)
