"""F1 of relations between entities."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._bio import Bio
from tf_mtl._shapes import match_rank
from tf_mtl.metrics._f1 import AveragedF1


@keras.saving.register_keras_serializable("tf_mtl")
class RelationF1(AveragedF1):
    """Strict F1 of relations between entities, from a `Tagging` task and a `Relations` task.

    A predicted relation is right if the relation and its direction are right, and the first word, last word and type of
    both entities. Predicted relations between words that do not both end predicted entities do not count. Relations
    count only if the pair of words has a label, as has each of the two words, whatever their positive weights.

    Pass it to `compile(joint_metrics=[...])`, which calls it with the labels and predictions of all tasks. `decode`
    finds the same entities, unless the tags have a CRF: then the metric takes those of its most probable path.

    Args:
        tags: The BIO tags, in the order of their indices.
        num_classes: The number R of relations.
        entities: The name of the `Tagging` task.
        relations: The name of the `Relations` task.
        average: "micro" pools all relations, "macro" takes the mean over the R relations.
        threshold: The smallest probability for which a relation is predicted.
        name: Name of the metric; None for "relation_micro_f1" or "relation_macro_f1".
        dtype: The dtype of the result.

    Raises:
        ValueError: if `average` is neither "micro" nor "macro", or the tags are not BIO tags.

    Example:

    >>> metric = mtl.metrics.RelationF1(["O", "B-person", "B-place"], num_classes=1)
    >>> related = np.zeros((1, 2, 2, 1))
    >>> related[0, 0, 1] = 1
    >>> labels = {"entities": (np.array([[1, 2]]), None), "relations": (related, None)}
    >>> metric.update_state(labels, {"entities": np.eye(3)[[[1, 2]]], "relations": 9 * related - 5})
    >>> float(metric.result())
    1.0

    Reference: Bekoulis et al., "Joint entity recognition and relation extraction as a multi-head selection problem",
    Expert Systems with Applications 114, 2018.
    """

    def __init__(
        self,
        tags: Sequence[str],
        num_classes: int,
        entities: str = "entities",
        relations: str = "relations",
        average: str = "micro",
        threshold: float = 0.5,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(num_classes, average, threshold, name or f"relation_{average}_f1", dtype)
        self.tags, self.entities, self.relations = list(tags), entities, relations
        self._bio = Bio(self.tags, f"RelationF1 '{self.name}'")

    @property
    def tasks(self) -> list[str]:
        """The names of the two tasks."""
        return [self.entities, self.relations]

    def update_state(self, labels: Mapping[str, Any], predictions: Mapping[str, Any]) -> None:
        """Add a batch of `{task: (y, weight or None)}` and `{task: prediction}`.

        Tags are indices [B, W], predicted ones scores [B, W, C]; relations are 0 or 1, and logits, [B, W, W, R].
        """
        scores, logits = (tf.cast(predictions[task], tf.float32) for task in self.tasks)
        (true_tags, tag_weight), (true, weight) = (labels[task] for task in self.tasks)
        true_tags = tf.cast(tf.reshape(true_tags, tf.shape(scores)[:2]), tf.int32)
        predicted_tags = tf.argmax(scores, -1, tf.int32)
        counts = tf.ones_like(logits)
        if weight is not None:
            counts *= match_rank(tf.cast(tf.cast(weight, tf.float32) > 0, tf.float32), 4)
        if tag_weight is not None:
            has_tag = match_rank(tf.cast(tag_weight, tf.float32) > 0, 2) & tf.ones_like(true_tags, tf.bool)
            true_tags, predicted_tags = (
                tf.where(has_tag, tags, self._bio.outside) for tags in (true_tags, predicted_tags)
            )
            counts *= tf.cast(has_tag[:, :, None] & has_tag[:, None], tf.float32)[..., None]
        true_ends, predicted_ends = self._bio.span_ends(true_tags), self._bio.span_ends(predicted_tags)
        is_end = predicted_ends.is_end
        is_right = is_end & true_ends.is_end & (predicted_ends.begins == true_ends.begins)
        is_right &= predicted_ends.types == true_ends.types
        is_pair, are_right = (x[:, :, None] & x[:, None] for x in (is_end, is_right))
        true = counts * tf.cast(match_rank(tf.convert_to_tensor(true), 4), tf.float32)
        predicted = tf.cast((tf.sigmoid(logits) >= self.threshold) & is_pair[..., None], tf.float32) * counts
        right = true * predicted * tf.cast(are_right, tf.float32)[..., None]
        right, true, predicted = (tf.reduce_sum(cells, [0, 1, 2]) for cells in (right, true, predicted))
        self.true_positives.assign_add(right)
        self.false_positives.assign_add(predicted - right)
        self.false_negatives.assign_add(true - right)

    def get_config(self) -> dict[str, Any]:
        config = {"tags": self.tags, "entities": self.entities, "relations": self.relations}
        return {**super().get_config(), **config}
