"""The mean average precision of detections, as the COCO benchmark measures it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl._boxes import PADDING, XYXY, areas, checked_format, intersections, is_relative, to_xyxy
from tf_mtl._gathered import free_slots, gathered, on_first_replica

_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)


@keras.saving.register_keras_serializable("tf_mtl")
class MeanAveragePrecision(keras.metrics.Metric):
    """COCO's mean average precision: `map` over the IoU thresholds .50, .55, ... .95, `map50` and `map75`.

    Each class' precision is interpolated at 101 recalls and averaged; results are means over the classes that occur
    among the labels. Of an image's detections, the 100 of each class with the highest scores count. The results equal
    those of pycocotools.

    Labels are [B, M, 5], a box and its class, in pixels; class -1 is padding. A box of the class -2 - c marks a crowd
    of class c, in which any number of detections count neither as right nor as wrong. Detections are [B, N, 6], a box,
    its class and its score; class -1 is padding. Weights are [B] for images or [B, M] for boxes. Images of weight 0 do
    not count, and boxes of weight 0 do not exist; other weights count as 1.

    The metric is exact over batches and replicas. It keeps `limit` detections. With more, results are NaN. Steps that
    update it cannot be compiled with XLA.

    Args:
        classes: The names of the classes, or their number.
        format: The format of the labelled boxes, as in `keras.utils.bounding_boxes`; detections are always "xyxy".
        image_size: Height and width of the images, for relative formats.
        per_class: Whether to add the results of each class: `map_<class>` and `map50_<class>`, 0 for classes that do
            not occur.
        limit: The largest number of detections. Each takes 16 bytes.
        name: Name of the metric.
        dtype: The dtype of the results.

    Raises:
        ValueError: for an unknown format, a relative one without `image_size`, or a limit that is not an integer of at
            least 1.

    Reference: Lin et al., "Microsoft COCO: common objects in context", ECCV 2014.

    Example:

    >>> metric = mtl.metrics.MeanAveragePrecision(classes=["cell"])
    >>> labels = np.array([[[10.0, 10.0, 50.0, 50.0, 0.0], [0.0, 0.0, 0.0, 0.0, -1.0]]])
    >>> metric.update_state(labels, np.array([[[10.0, 10.0, 50.0, 42.0, 0.0, 0.9]]]))
    >>> {name: round(float(value), 2) for name, value in metric.result().items()}
    {'map': 0.7, 'map50': 1.0, 'map75': 1.0}
    """

    _direction = "up"  # for callbacks with mode="auto"
    _most = 100  # detections of a class in an image

    def __init__(
        self,
        classes: Sequence[str] | int,
        format: str = XYXY,
        image_size: Sequence[int] | None = None,
        per_class: bool = False,
        limit: int = 200_000,
        name: str = "mean_average_precision",
        dtype: Any = None,
    ):
        super().__init__(name=name, dtype=dtype)
        self.classes = list(map(str, range(classes) if isinstance(classes, int) else classes))
        if not self.classes:
            raise ValueError(f"`classes` must be at least one name, or their number, received {classes}.")
        self.format = checked_format("format", format)
        self.image_size = None if image_size is None else (int(image_size[0]), int(image_size[1]))
        if is_relative(format) and image_size is None:
            raise ValueError(f"`image_size` is required for boxes in the relative format {format!r}.")
        self.per_class = bool(per_class)
        self.limit = integer("limit", limit, 1)
        self.scores = self.add_variable((self.limit,), "zeros", "float32", name="scores")
        # By detection: its class, and a bit for each threshold at which it is right, or does not count.
        self.facts = self.add_variable((3, self.limit), "zeros", "int32", name="facts")
        self.stored = self.add_variable((), "zeros", "int32", name="stored")
        self.label_counts = self.add_variable((len(self.classes),), "zeros", "int32", name="label_counts")

    @property
    def result_names(self) -> list[str]:
        """The names of the results, in their order."""
        of_classes = [f"{name}_{label}" for label in self.classes for name in ("map", "map50")]
        return ["map", "map50", "map75", *(of_classes if self.per_class else [])]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add labels [B, M, 5], detections [B, N, 6], and weights [B] or [B, M]."""
        labels, detections = tf.cast(y_true, tf.float32), tf.cast(y_pred, tf.float32)
        classes = tf.cast(labels[..., 4], tf.int32)
        if sample_weight is not None:
            weight = tf.cast(sample_weight, tf.float32)
            weight = tf.reshape(weight, [tf.shape(weight)[0], -1])
            classes = tf.where(weight > 0, classes, PADDING)
            is_image = tf.reduce_any(weight > 0, 1)
            detections = tf.where(is_image[:, None, None], detections, float(PADDING))
        one_more = [[0, 0], [0, 1]]  # a row of padding, so that there is one
        labels = tf.pad(labels, [*one_more, [0, 0]])
        classes = tf.pad(classes, one_more, constant_values=PADDING)
        labels = tf.concat([to_xyxy(labels[..., :4], self.format, self.image_size), labels[..., 4:]], -1)
        matched = _matched(labels[..., :4], classes, detections, self._most)
        counts = tf.reduce_sum(tf.one_hot(classes, len(self.classes), dtype=tf.int32), [0, 1])
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            matched = matched.of_all_replicas()
        self._store(matched)
        self.label_counts.assign_add(counts)

    def _store(self, matched):
        slots = free_slots(matched.counted, self.stored, self.limit)
        facts = tf.stack([matched.classes, matched.is_right, matched.is_ignored], 1)
        self.scores.assign_add(tf.math.unsorted_segment_sum(matched.scores, slots, self.limit))
        self.facts.assign_add(tf.transpose(tf.math.unsorted_segment_sum(facts, slots, self.limit)))
        self.stored.assign_add(tf.reduce_sum(tf.cast(matched.counted, tf.int32)))

    def result(self) -> dict[str, tf.Tensor]:
        """Return a dict of `map`, `map50`, `map75` and, with `per_class`, the results of each class."""
        precisions, label_counts = self._precisions()
        precisions = tf.reduce_mean(precisions, 2)
        occurs = tf.cast(label_counts > 0, tf.float64)
        mean = tf.math.divide_no_nan(tf.tensordot(occurs, precisions, 1), tf.reduce_sum(occurs))
        values = [tf.reduce_mean(mean), mean[0], mean[5]]
        if self.per_class:
            values += [value for row in tf.unstack(precisions) for value in (tf.reduce_mean(row), row[0])]
        fits = self.stored <= self.limit
        values = [tf.cast(tf.where(fits, value, np.nan), self.dtype) for value in values]
        return dict(zip(self.result_names, values, strict=True))

    def curves(self, iou: float = 0.5) -> dict[str, np.ndarray]:
        """Return the precisions of each class at the recalls 0, .01, ... 1; `report.precision_recall` draws them.

        They are NaN for a class that does not occur, and for all with more detections than `limit`.

        Args:
            iou: One of the thresholds.

        Raises:
            ValueError: for another threshold.
        """
        index = np.abs(_THRESHOLDS - iou).argmin()
        if abs(_THRESHOLDS[index] - iou) > 1e-6:
            raise ValueError(f"`iou` must be one of {_THRESHOLDS.round(2).tolist()}, received {iou}.")
        precisions, label_counts = self._precisions()
        is_known = (label_counts > 0) & (self.stored <= self.limit)
        curves = tf.where(is_known[:, None], precisions[:, index], np.nan)
        return dict(zip(self.classes, curves.numpy(), strict=True))

    def _precisions(self):
        """The precisions [C, 10, 101] of classes at thresholds and recalls, and the numbers of labelled boxes [C]."""
        number = tf.minimum(tf.convert_to_tensor(self.stored), self.limit)
        order = tf.argsort(tf.convert_to_tensor(self.scores)[:number], direction="DESCENDING", stable=True)
        classes, *bits = tf.unstack(tf.gather(tf.convert_to_tensor(self.facts)[:, :number], order, axis=1))
        is_right, is_ignored = ((x & (1 << np.arange(len(_THRESHOLDS), dtype="int32"))[:, None]) > 0 for x in bits)
        label_counts = tf.cast(tf.convert_to_tensor(self.label_counts), tf.float64)
        precisions = tf.map_fn(
            lambda index: _highest_precisions(is_right, ~is_ignored & (classes == index), label_counts[index]),
            tf.range(len(self.classes)),
            fn_output_signature=tf.TensorSpec([len(_THRESHOLDS), len(_RECALLS)], tf.float64),
        )
        return precisions, label_counts

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "classes": self.classes,
            "format": self.format,
            "image_size": self.image_size,
            "per_class": self.per_class,
            "limit": self.limit,
        }


class _Matched(NamedTuple):
    """Detections of all images, [B * N], and what became of them.

    Attributes:
        scores: Their scores.
        classes: Their classes.
        is_right: A bit for each threshold, 1 where the detection has found a labelled box.
        is_ignored: A bit for each threshold, 1 where it has found a crowd.
        counted: Which are detections, and not padding or more than an image may have.
    """

    scores: tf.Tensor
    classes: tf.Tensor
    is_right: tf.Tensor
    is_ignored: tf.Tensor
    counted: tf.Tensor

    def of_all_replicas(self) -> "_Matched":
        """Return those of all replicas, which count on the first one, in the replica context."""
        return _Matched(
            gathered(self.scores),
            gathered(self.classes),
            gathered(self.is_right),
            gathered(self.is_ignored),
            on_first_replica(gathered(tf.cast(self.counted, tf.int32)) > 0),  # booleans cannot be gathered
        )


def _matched(boxes, classes, detections, most):
    """Give each detection, in the order of scores, the labelled box of its class that it overlaps most.

    A box is found once, a crowd by any number of detections, and only if no other box overlaps enough.
    """
    order = tf.argsort(tf.where(detections[..., 4] >= 0, detections[..., 5], -np.inf), 1, "DESCENDING", True)
    detections = tf.gather(detections, order, batch_dims=1)
    found, found_classes = tf.cast(detections[..., :4], tf.float64), tf.cast(detections[..., 4], tf.int32)
    boxes = tf.cast(boxes, tf.float64)
    is_crowd = classes < PADDING
    of_class = tf.where(is_crowd, -2 - classes, classes)
    common = intersections(found[:, :, None], boxes[:, None])
    union = areas(found)[:, :, None] + tf.where(
        is_crowd[:, None], tf.zeros([], tf.float64), areas(boxes)[:, None] - common
    )
    iou = tf.math.divide_no_nan(common, union)
    same = (found_classes[:, :, None] == of_class[:, None]) & (of_class >= 0)[:, None]
    iou = tf.where(same, iou, -1.0)  # [B, N, M]
    earlier = tf.linalg.band_part(tf.cast(found_classes[:, :, None] == found_classes[:, None], tf.int32), -1, 0)
    counted = (found_classes >= 0) & (tf.reduce_sum(earlier, 2) <= most)
    thresholds = tf.constant(np.minimum(_THRESHOLDS, 1 - 1e-10))[:, None]
    bits = tf.constant(1 << np.arange(len(_THRESHOLDS)), tf.int32)

    def step(index, taken, is_right, is_ignored):
        overlap = tf.where(counted[:, index, None], iou[:, index], -1.0)[:, None]  # [B, 1, M]
        enough = overlap >= thresholds
        own = enough & ~taken & ~is_crowd[:, None]
        chosen = _last_maximum(tf.where(own, overlap, -1.0)) & own
        has_own, has_crowd = tf.reduce_any(own, 2), tf.reduce_any(enough & is_crowd[:, None], 2)
        taken |= chosen
        right = tf.reduce_sum(tf.where(has_own, bits, 0), 1)
        ignored = tf.reduce_sum(tf.where(has_crowd & ~has_own, bits, 0), 1)
        return index + 1, taken, is_right.write(index, right), is_ignored.write(index, ignored)

    batch, number = tf.unstack(tf.shape(found)[:2])
    taken = tf.zeros([batch, len(_THRESHOLDS), tf.shape(boxes)[1]], tf.bool)
    arrays = [tf.TensorArray(tf.int32, number, element_shape=[None]) for _ in range(2)]
    _, _, *arrays = tf.while_loop(lambda index, *_: index < number, step, (0, taken, *arrays))
    is_right, is_ignored = (tf.reshape(tf.transpose(tf.reshape(x.stack(), [number, batch])), [-1]) for x in arrays)
    scores, classes = tf.reshape(detections[..., 5], [-1]), tf.reshape(found_classes, [-1])
    return _Matched(scores, classes, is_right, is_ignored, tf.reshape(counted, [-1]))


def _last_maximum(values):
    """A mask of the last maximum on the last axis, as pycocotools chooses among equal overlaps."""
    size = tf.shape(values)[-1]
    last = size - 1 - tf.argmax(tf.reverse(values, [-1]), -1, tf.int32)
    return tf.range(size) == last[..., None]


def _highest_precisions(is_right, counts, label_count):
    """The highest precisions at 101 recalls or more, [10, 101].

    Args:
        is_right: Which detections are right, [10, N], by decreasing score.
        counts: Which count, [10, N].
        label_count: The number of labelled boxes.
    """
    right = tf.cumsum(tf.cast(is_right & counts, tf.float64), 1)
    recall = tf.math.divide_no_nan(right, label_count)
    precision = tf.math.divide_no_nan(right, tf.cumsum(tf.cast(counts, tf.float64), 1))
    recalls = tf.tile(_RECALLS[None], [len(_THRESHOLDS), 1])
    reached = tf.searchsorted(recalls, recall, side="right") - 1  # the highest of the recalls
    at_recall = [
        tf.math.unsorted_segment_max(row, index, len(_RECALLS))
        for row, index in zip(tf.unstack(precision), tf.unstack(reached), strict=True)
    ]
    is_later = np.tri(len(_RECALLS), dtype=bool).T
    return tf.reduce_max(tf.where(is_later, tf.maximum(tf.stack(at_recall), 0.0)[:, None], 0.0), 2)
