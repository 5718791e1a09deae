"""Dependency parsing."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl._spanning_trees import spanning_trees
from tf_mtl.layers._biaffine_scores import BiaffineScores, MaskArcs
from tf_mtl.losses import DependencyCrossentropy
from tf_mtl.metrics import LabeledAttachmentScore, UnlabeledAttachmentScore
from tf_mtl.tasks._encode_arcs import encode_arcs
from tf_mtl.tasks._head_arguments import class_names
from tf_mtl.tasks._raw_labels import EncodedLabels, TextRecords
from tf_mtl.tasks._sequence_task import SequenceTask
from tf_mtl.tasks._words_of_texts import substrings, word_offsets
from tf_mtl.text import LocatedTexts


@keras.saving.register_keras_serializable("tf_mtl")
class DependencyParse(SequenceTask):
    r"""A dependency tree for each sentence: the head of each word and the relation to it, from biaffine scores.

    The score of word $i$ as the head of word $j$ is

    $$s_{ij} = h_i^\top U d_j + u^\top h_i$$

    and that of relation $r$ between them

    $$s_{ijr} = h_i'^\top U_r d_j' + u_r^\top h_i' + v_r^\top d_j' + b_r$$

    where $h$, $d$, $h'$ and $d'$ are outputs of four dense ReLU layers, which represent words as heads and as
    dependents. The root is one more head, with learnt vectors. The output [B, W, W + 1, 1 + R] holds the score of the
    arc and those of the R relations, for each dependent and head. Head 0 is the root, and head i is the word at
    position i - 1. Positions without a word are impossible heads: all their scores are -1e9. `SequenceTask` says which
    features the task reads and what a word is.

    Labels are integers [B, W, 2]: the head, 0 for the root or the number of a word, counted from 1, and the index of
    the relation. They need not form a tree. Label weights are 0 where a label is missing, [B, W], or [B] for whole
    sentences. Positions after the last word never count. In truncated sentences, words whose heads are lost need the
    weight 0. The loss is the cross-entropy of the head plus that of the relation to the labelled head. Metrics: `uas`
    and `las`, the fractions of words with the right head, and with the right head and relation.

    Decoded, all [B, W]: `heads`, 0 for the root and -1 after the last word; `relations`, the names of the relations to
    these heads, "" after the last word; and `scores`, the probabilities of the arcs, 0 after the last word. With
    `tree=True` the heads are the tree of the highest total score in which one word has the root as its head. Memory
    grows with W^2 R, and the time to find trees with up to W^3. With the texts (see `MultiTaskModel.decode`) also
    `words`.

    Other tasks (see `after` in `Task`) can read the "probabilities" of each word's relation, whatever its head,
    [B, W, R], or the "hidden" features, but not the output, whose size depends on the sentence.

    Args:
        name: The task's name.
        labels: The names of the relations, or their number.
        arc_units: The units of the dense layers for arcs.
        label_units: The units of the dense layers for relations.
        tree: Whether decoded heads form a tree. If not, each word gets the head of the highest score.
        **kwargs: See `SequenceTask` and `Task`.

    Raises:
        ValueError: for units that are not positive integers, duplicate names, or no relation.

    Reference: Dozat & Manning, "Deep biaffine attention for neural dependency parsing", ICLR 2017. Trees: Edmonds,
    "Optimum branchings", 1967.

    Example:

    >>> task = mtl.tasks.DependencyParse("parse", labels=["root", "subject", "object"])
    >>> output = np.zeros((1, 3, 4, 4), "float32")
    >>> output[0, [0, 1, 2], [2, 0, 2], 0] = 9  # she <- saw -> him
    >>> output[0, [0, 1, 2], [2, 0, 2], [2, 1, 3]] = 9
    >>> answer = task.decode(output)
    >>> answer["heads"].numpy().tolist(), answer["relations"].numpy().tolist()
    ([[2, 0, 2]], [[b'subject', b'root', b'object']])
    """

    locates_in = LocatedTexts

    def __init__(
        self,
        name: str,
        labels: Sequence[str] | int,
        arc_units: int = 500,
        label_units: int = 100,
        tree: bool = True,
        **kwargs: Any,
    ):
        super().__init__(name, **kwargs)
        self.labels = class_names(name, labels, least=1)
        self.arc_units = integer("arc_units", arc_units, 1)
        self.label_units = integer("label_units", label_units, 1)
        self.tree = bool(tree)

    @property
    def output_units(self) -> int:
        """The number of scores of an arc, 1 + R."""
        return 1 + len(self.labels)

    @property
    def loss(self) -> keras.losses.Loss:
        """The cross-entropies of the head and of the relation to it, one value per word."""
        return DependencyCrossentropy()

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return the unlabeled and the labeled attachment score."""
        return [UnlabeledAttachmentScore(), LabeledAttachmentScore()]

    def encode_labels(self, labels: tf.Tensor | tf.RaggedTensor, records: TextRecords) -> EncodedLabels:
        """Return heads and relations of arcs such as "2:subject"; see `tf_mtl.data.encode_text`."""
        return encode_arcs(self.name, self.labels, labels, records)

    def output_layer(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the scores [B, W, W + 1, 1 + R], before heads without a word are marked."""
        units = {"arc_heads": self.arc_units, "arc_dependents": self.arc_units}
        units |= {"label_heads": self.label_units, "label_dependents": self.label_units}
        parts = [
            self.dense(size, f"{self.name}_{part}", activation="relu", dtype=None)(x) for part, size in units.items()
        ]
        return BiaffineScores(len(self.labels), name=f"{self.name}_scores")(parts)

    def marked(self, scores: keras.KerasTensor, mask: keras.KerasTensor | None) -> keras.KerasTensor:
        """Return the output, in which arcs from or to positions without a word are marked."""
        return MaskArcs(name=self.name)(scores, mask=mask)

    def readable(self, output: keras.KerasTensor, part: str) -> keras.KerasTensor:
        """Return the probabilities of the words' relations, or the hidden features, zero where no word is.

        Raises:
            ValueError: for the output.
        """
        if part == "output":
            raise ValueError(
                f"`after` reads the output of task '{self.name}', whose size depends on the sentence. Read "
                f"{{'{self.name}': 'probabilities'}}, those of each word's relation, or 'hidden'."
            )
        return super().readable(output, part)

    def probabilities(self, output: keras.KerasTensor) -> keras.KerasTensor:
        """Return the symbolic probabilities of each word's relation, whatever its head, [B, W, R]."""
        return _RelationProbabilities(name=f"{self.name}_probabilities")(output)

    def valid_mask(self, output: tf.Tensor) -> tf.Tensor:
        """Return which positions contain a word, [B, W]."""
        return super().valid_mask(output[..., 0])

    def predictions(self, output: tf.Tensor) -> tf.Tensor:
        """Return the decoded heads and relations, int32 [B, W, 2]."""
        heads, _ = self._heads(output)
        return tf.stack([heads, _relations(output, heads)], -1)

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `heads`, `relations` and `scores`, all [B, W]."""
        output = tf.cast(output, tf.float32)
        valid = self.valid_mask(output)
        heads, scores = self._heads(output)
        probabilities = tf.gather(tf.nn.softmax(scores), heads, batch_dims=2)
        names = tf.gather(tf.constant(self.labels), _relations(output, heads))
        return {
            "heads": tf.where(valid, heads, -1),
            "relations": tf.where(valid, names, ""),
            "scores": tf.where(valid, probabilities, 0.0),
        }

    def locate(self, answer: Mapping[str, tf.Tensor], located: LocatedTexts) -> dict[str, tf.Tensor]:
        """Return `words` [B, W]."""
        heads = answer["heads"]
        return {"words": substrings(located.texts, heads >= 0, *word_offsets(located, tf.shape(heads)[1]))}

    def distillation_loss(self, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Return the cross-entropy with the teacher's probabilities of arcs and their relations, one value per word."""
        cross_entropy = tf.nn.softmax_cross_entropy_with_logits
        heads, target_relations = tf.nn.softmax(target[..., 0]), tf.nn.softmax(target[..., 1:])
        of_relations = tf.reduce_sum(heads * cross_entropy(target_relations, output[..., 1:]), -1)
        return cross_entropy(heads, output[..., 0]) + of_relations

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "labels": self.labels,
            "arc_units": self.arc_units,
            "label_units": self.label_units,
            "tree": self.tree,
        }

    def _heads(self, output):
        """The heads [B, W], and the scores of all heads [B, W, W + 1], in which no word is its own head."""
        own = tf.range(tf.shape(output)[1])[:, None] + 1 == tf.range(tf.shape(output)[2])
        scores = tf.where(own, output.dtype.min, output[..., 0])
        if not self.tree:
            return tf.argmax(scores, -1, tf.int32), scores
        valid = self.valid_mask(output)
        return tf.where(valid, spanning_trees(scores, valid), 0), scores


@keras.saving.register_keras_serializable("tf_mtl")
class _RelationProbabilities(keras.layers.Layer):
    """The probabilities of relations [B, W, R] over all heads, from scores [B, W, W + 1, 1 + R]."""

    def __init__(self, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, inputs: Any) -> Any:
        """Return the probabilities."""
        heads, relations = keras.ops.softmax(inputs[..., 0]), keras.ops.softmax(inputs[..., 1:])
        return keras.ops.einsum("bdh,bdhr->bdr", heads, relations)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the probabilities."""
        return (*input_shape[:2], input_shape[-1] - 1)


def _relations(output: tf.Tensor, heads: tf.Tensor) -> tf.Tensor:
    """The relations of the highest score to given heads [B, W]."""
    return tf.argmax(tf.gather(output, heads, batch_dims=2)[..., 1:], -1, tf.int32)
