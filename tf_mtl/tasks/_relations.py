"""Relations between entities."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range, integer
from tf_mtl._bio import Bio
from tf_mtl._keys import after_key
from tf_mtl._shapes import match_rank
from tf_mtl.layers._gold_tags import GoldTags
from tf_mtl.layers._pairs_of_words import JoinTags, MaskPairs, PairFeatures
from tf_mtl.losses import CellwiseBinaryCrossentropy, RelationLoss
from tf_mtl.metrics import MultiLabelF1
from tf_mtl.tasks._binary_crossentropy import BinaryCrossentropy
from tf_mtl.tasks._encode_relations import encode_relations
from tf_mtl.tasks._head_arguments import class_names
from tf_mtl.tasks._pair_task import PairTask
from tf_mtl.tasks._raw_labels import EncodedLabels, TextRecords
from tf_mtl.tasks._words_of_texts import substrings, word_offsets
from tf_mtl.text import LocatedTexts

_PRIOR = 0.01  # the probability of each relation before training (Lin et al., "Focal loss", ICCV 2017)


@keras.saving.register_keras_serializable("tf_mtl")
class Relations(PairTask):
    r"""Relations between the entities that a `Tagging` task finds, by multi-head selection.

    The last word of an entity represents it. For each pair of words (i, j) and each relation r, the logit that the
    entity ending with word i is the head (the subject) of relation r, and that ending with word j its tail, is

    $$s_{ijr} = v_r^\top \mathrm{relu}(U z_i + W z_j + b) + c_r$$

    where $z$ joins the word's features with its entity tag. In training that is the labelled tag. Where it is missing,
    and in answers, it is the probabilities of tags, through which the loss also trains the entity task, unless
    `after_gradients=False` (see `after` in `Task`). The labels come through the optional input `<name>_tags`, which
    `fit` fills. `SequenceTask` says which features the task reads and what a word is. The output [B, W, W, R + 1] holds
    the R logits of a pair and the most probable tag of word i, all -1e9 for pairs that are not two words. Memory grows
    with W^2 times `units`.

    Labels are 0 or 1, [B, W, W, R]. Label weights are 0 where a label is missing: [B] for whole sentences, [B, W, W]
    for pairs, or [B, W, W, R]. Pairs that are not two words never count. The loss is the binary cross-entropy per cell.
    Few cells are 1, so all probabilities begin near 0.01, and the mean over cells is small beside the losses of other
    tasks: see `loss_weights` in `MultiTaskModel.compile`. The metric `micro_f1` is over all cells. That of whole
    relations between entities is `tf_mtl.metrics.RelationF1`.

    Decoded are the relations between words that end entities, those of the highest probability first, all
    [B, `most`]: `labels`, the names of relations; `scores`, their probabilities; `head_types`, `head_begins` and
    `head_ends`, the head's type, the index of its first word and the index after its last; and `tail_types`,
    `tail_begins` and `tail_ends`. They are "", 0 and -1 after the last relation. `tags` [B, W] are the entity tags,
    "" after the last word. If the entity task has a CRF, they are each word's most probable tag before it,
    not its path. With the texts (see `MultiTaskModel.decode`) also `head_texts`, `head_byte_begins` and
    `head_byte_ends`, offsets into the UTF-8 text, and the same for tails.

    Args:
        name: The task's name.
        labels: The names of the relations, or their number.
        tags: The BIO tags of the entity task, its `labels`.
        entities: The name of the entity task.
        units: The size of the vectors of pairs.
        threshold: The smallest probability for which a relation is predicted.
        most: The largest number of relations in the answer for a sentence.
        pos_weight: The factor of positive cells in the loss: one number, or one for each relation.
        label_smoothing: How far labels are moved towards 1/2 in the loss.
        focal: The exponent gamma of the focal loss (Lin et al., ICCV 2017); 0 for the cross-entropy. For any other loss
            of cells, pass `compile(loss={name: tf_mtl.losses.RelationLoss(loss)})`.
        **kwargs: See `SequenceTask` and `Task`.

    Raises:
        ValueError: for no relation, duplicate names, tags that are not BIO tags, numbers out of range, `focal` combined
            with another option of the loss, or `after` with another part of the entity task.

    Reference: Bekoulis et al., "Joint entity recognition and relation extraction as a multi-head selection problem",
    Expert Systems with Applications 114, 2018.

    Example:

    >>> task = mtl.tasks.Relations("relations", labels=["lives_in"], tags=["O", "B-person", "B-place", "I-place"])
    >>> output = np.full((1, 4, 4, 2), -9.0)  # Ann likes New York
    >>> output[..., 1] = np.array([1, 0, 2, 3])[:, None]
    >>> output[0, 0, 3, 0] = 9.0
    >>> answer = task.decode(output)
    >>> [answer[key][0, 0].numpy() for key in ("head_types", "labels", "tail_types")]
    [b'person', b'lives_in', b'place']
    >>> [int(answer[key][0, 0]) for key in ("tail_begins", "tail_ends")]
    [2, 4]
    """

    locates_in = LocatedTexts

    def __init__(
        self,
        name: str,
        labels: Sequence[str] | int,
        tags: Sequence[str],
        entities: str = "entities",
        units: int = 128,
        threshold: float = 0.5,
        most: int = 32,
        pos_weight: float | list[float] = 1.0,
        label_smoothing: float = 0.0,
        focal: float = 0.0,
        after: Sequence[str] | Mapping[str, str] = (),
        **kwargs: Any,
    ):
        super().__init__(name, after=after, **kwargs)
        if self.after.setdefault(entities, "probabilities") != "probabilities":
            raise ValueError(
                f"`after['{entities}']` of task '{name}' must be 'probabilities', those of the entities' tags, "
                f"received {self.after[entities]!r}. Leave it out."
            )
        self.labels = class_names(name, labels, least=1)
        self.tags = list(tags)
        self.entities = entities
        self.units = integer("units", units, 1)
        self._tags_input = f"{name}_tags"
        self.threshold = in_range("threshold", threshold, 0, 1)
        self.most = integer("most", most, 1)
        self._bio = Bio(self.tags, f"the entity task of '{name}' (`tags`)")
        self._crossentropy = BinaryCrossentropy(name, pos_weight, label_smoothing, focal)

    @property
    def output_units(self) -> int:
        """The size of the output's last axis, R + 1."""
        return len(self.labels) + 1

    @property
    def loss(self) -> keras.losses.Loss:
        """Binary cross-entropy from logits, one value per cell, with the options set."""
        return RelationLoss(self._crossentropy.loss(plain=CellwiseBinaryCrossentropy()))

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return F1 over all cells."""
        return [MultiLabelF1(len(self.labels), "micro", self.threshold)]

    def encode_labels(self, labels: tf.Tensor | tf.RaggedTensor, records: TextRecords) -> EncodedLabels:
        """Return a cell for each pair of words and each relation; see `tf_mtl.data.encode_text`."""
        return encode_relations(self.name, self.labels, labels, records)

    def own_inputs(self) -> dict[str, keras.KerasTensor]:
        """Return the input for the labels of entity tags, [B, W]."""
        return {self._tags_input: keras.Input((None,), dtype="int32", name=self._tags_input, optional=True)}

    def fill_own_inputs(self, labels: Mapping[str, tuple[Any, Any]], training: bool) -> dict[str, tf.Tensor]:
        """Return the labels of entity tags, -1 where one is missing, in training only."""
        if not training or self.entities not in labels:
            return {}
        y, weight = labels[self.entities]
        tags = tf.cast(y, tf.int32)
        tags = tf.reshape(tags, tf.shape(tags)[:2])
        if weight is not None:
            tags = tf.where(match_rank(tf.convert_to_tensor(weight), 2) > 0, tags, -1)
        return {self._tags_input: tags}

    def head(self, features: Mapping[str, keras.KerasTensor]) -> keras.KerasTensor:
        """Return the task's symbolic output.

        Raises:
            ValueError: if the encoder does not return a sequence, or the entity task has other tags.
        """
        probabilities = features[after_key(self.entities)]
        if len(probabilities.shape) != 3 or probabilities.shape[-1] != len(self.tags):
            raise ValueError(
                f"`entities` of task '{self.name}' must name a Tagging task with the labels {self.tags}, but the "
                f"probabilities of '{self.entities}' have the shape {probabilities.shape}. Set `tags` to its labels."
            )
        tags = GoldTags(name=f"{self.name}_entity_tags")(probabilities, features.get(self._tags_input))
        output = super().head({**features, after_key(self.entities): tags})
        return JoinTags(name=self.name)([output, probabilities])

    def output_layer(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the logits of all pairs [B, W, W, R] from the words' features."""
        heads = self.dense(self.units, f"{self.name}_heads", dtype=None)(x)
        tails = self.dense(self.units, f"{self.name}_tails", dtype=None, use_bias=False)(x)
        pairs = PairFeatures(name=f"{self.name}_pairs")([heads, tails])
        bias = keras.initializers.Constant(math.log(_PRIOR / (1 - _PRIOR)))
        return self.dense(len(self.labels), f"{self.name}_scores", bias_initializer=bias)(pairs)

    def marked(self, scores: keras.KerasTensor, mask: keras.KerasTensor | None) -> keras.KerasTensor:
        """Return the logits, in which pairs that are not two words are marked; `head` joins the tags."""
        return MaskPairs(name=f"{self.name}_marked")(scores, mask=mask)

    def predictions(self, output: tf.Tensor) -> tf.Tensor:
        """Return the logits [B, W, W, R]."""
        return output[..., :-1]

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the relations, all [B, `most`], and `tags` [B, W]."""
        output = tf.cast(output, tf.float32)
        is_word = tf.linalg.diag_part(self.valid_mask(output))
        tags = tf.round(tf.clip_by_value(tf.linalg.diag_part(output[..., -1]), 0, len(self.tags) - 1))
        tags = tf.where(is_word, tf.cast(tags, tf.int32), self._bio.outside)
        ends = self._bio.span_ends(tags)
        is_pair = ends.is_end[:, :, None] & ends.is_end[:, None]
        scores = tf.sigmoid(output[..., :-1])
        is_predicted = is_pair[..., None] & (scores >= self.threshold)
        scores, cells = _highest(tf.where(is_predicted, scores, -1.0), self.most)
        is_relation = scores >= 0
        heads, tails, relations = tf.unstack(cells, axis=-1)
        answer = {
            "labels": tf.where(is_relation, tf.gather(tf.constant(self.labels), relations), ""),
            "scores": tf.where(is_relation, scores, 0.0),
        }
        for side, words in (("head", heads), ("tail", tails)):
            types = tf.gather(tf.constant(self._bio.types), tf.gather(ends.types, words, batch_dims=1))
            begins = tf.gather(ends.begins, words, batch_dims=1)
            answer |= {
                f"{side}_types": tf.where(is_relation, types, ""),
                f"{side}_begins": tf.where(is_relation, begins, -1),
                f"{side}_ends": tf.where(is_relation, words + 1, -1),
            }
        return {**answer, "tags": tf.where(is_word, tf.gather(tf.constant(self.tags), tags), "")}

    def locate(self, answer: Mapping[str, tf.Tensor], located: LocatedTexts) -> dict[str, tf.Tensor]:
        """Return the texts and the byte offsets of heads and tails, all [B, `most`]."""
        begins, ends = word_offsets(located, tf.shape(answer["tags"])[1])
        is_relation = answer["labels"] != ""
        parts: dict[str, tf.Tensor] = {}
        for side in ("head", "tail"):
            first = tf.gather(begins, tf.maximum(answer[f"{side}_begins"], 0), batch_dims=1)
            last = tf.gather(ends, tf.maximum(answer[f"{side}_ends"] - 1, 0), batch_dims=1)
            parts |= {
                f"{side}_texts": substrings(located.texts, is_relation, first, last),
                f"{side}_byte_begins": tf.where(is_relation, first, -1),
                f"{side}_byte_ends": tf.where(is_relation, last, -1),
            }
        return parts

    def distillation_loss(self, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Return the cross-entropy with the teacher's probabilities, one value per cell."""
        return self.loss.call(tf.sigmoid(target[..., :-1]), output)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "labels": self.labels,
            "tags": self.tags,
            "entities": self.entities,
            "units": self.units,
            "threshold": self.threshold,
            "most": self.most,
            **self._crossentropy.config,
        }


def _highest(scores: tf.Tensor, most: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The highest of scores [B, W, W, R] in each row, [B, most], filled up with -1, and their cells, [B, most, 3]."""
    sizes = tf.shape(scores)[1:]
    number = tf.minimum(most, tf.reduce_prod(sizes))
    values, indices = tf.math.top_k(tf.reshape(scores, [tf.shape(scores)[0], tf.reduce_prod(sizes)]), number)
    padding = [[0, 0], [0, most - number]]
    values, indices = tf.pad(values, padding, constant_values=-1.0), tf.pad(indices, padding)
    values, indices = (tf.ensure_shape(x, [None, most]) for x in (values, indices))
    return values, tf.stack([indices // (sizes[1] * sizes[2]), indices // sizes[2] % sizes[1], indices % sizes[2]], -1)
