"""The loss of detections: which position answers for which box, and how well it does."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range, integer
from tf_mtl._boxes import PADDING, XYXY, checked_format, checked_image_size, pairwise_iou, to_xyxy
from tf_mtl._pyramid import centres
from tf_mtl._shapes import match_rank
from tf_mtl.losses._box_loss import BoxLoss
from tf_mtl.losses._parts_loss import PartsLoss


@keras.saving.register_keras_serializable("tf_mtl")
class DetectionLoss(PartsLoss):
    r"""The loss of boxes and class logits at all positions of a feature pyramid, one value per image, [B].

    Positions are assigned to labelled boxes anew in each step (task-aligned assignment). A position may answer for a
    box if its centre is inside it or is the nearest to the box's centre. Of these, the `top` positions with the highest
    alignment $t = s\,u^6$ are assigned, where $s$ is the probability of the box's class and $u$ the IoU of the
    predicted box; a position of several boxes belongs to that with the highest $u$. The target $q$ of the assigned
    class' probability is $t$, scaled to the highest $u$ of the box, and 0 for all other classes and positions. With
    $L$ the `BoxLoss` of assigned positions, an image's loss is

    $$\frac{\sum_{a,c} |q_{ac} - p_{ac}|^\gamma\, \mathrm{BCE}(q_{ac}, p_{ac}) + \lambda \sum_a q_a L_a}
    {\max(1, \sum_a q_a)}$$

    Crowds (classes below -1) get no position, and positions inside them that answer for no box have no class loss.
    Boxes count by their label weights [B, M]; those of weight 0 do not exist. An image counts by the largest of its
    weights, padding included. An image without boxes teaches that nothing is there.

    Args:
        levels: The levels of the pyramid, "P3" for the map of stride 8.
        image_size: Height and width of the model's images.
        kind: The kind of `BoxLoss`.
        format: The format of the labelled boxes, as in `keras.utils.bounding_boxes`.
        gamma: The exponent $\gamma$ of the focal loss; 2, as in the paper.
        box_weight: The factor $\lambda$ of the boxes' loss; 2, as in the paper.
        top: The largest number of positions per box; 13, as in the paper.
        reduction: See `keras.losses.Loss`.
        name: Name of the loss.
        dtype: See `keras.losses.Loss`.

    Raises:
        ValueError: if an argument is out of range.

    Reference: Feng et al., "TOOD: task-aligned one-stage object detection", ICCV 2021.

    Example:

    >>> loss = mtl.losses.DetectionLoss(levels=["P5"], image_size=(64, 64))  # four positions
    >>> labels = np.array([[[0.0, 0.0, 32.0, 32.0, 0.0]]])
    >>> right = np.array([[[0.0, 0.0, 32.0, 32.0, 9.0], *3 * [[32.0, 32.0, 64.0, 64.0, -9.0]]]])
    >>> loss.call(labels, right).numpy().round(3).tolist()
    [0.0]
    """

    missing_label = PADDING

    def __init__(
        self,
        levels: Sequence[str],
        image_size: Sequence[int],
        kind: str = "giou",
        format: str = XYXY,
        gamma: float = 2.0,
        box_weight: float = 2.0,
        top: int = 13,
        reduction: str = "sum_over_batch_size",
        name: str = "detection_loss",
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype)
        self.levels, self.image_size = list(levels), checked_image_size(image_size)
        self._boxes = BoxLoss(kind)
        self.format = checked_format("format", format)
        self.gamma = in_range("gamma", gamma, 0)
        self.box_weight = in_range("box_weight", box_weight, 0)
        self.top = integer("top", top, 1)

    def call(self, y_true: Any, y_pred: Any, weight: Any = None) -> tf.Tensor:
        """Return one value per image, [B].

        Args:
            y_true: Boxes and classes [B, M, 5], class -1 for padding.
            y_pred: Boxes in pixels, "xyxy", and class logits, [B, A, 4 + C].
            weight: The label weights, [B] for images or [B, M] for boxes; None where all are 1.
        """
        y_pred = tf.convert_to_tensor(y_pred)
        labels = tf.cast(y_true, y_pred.dtype)
        boxes, logits = y_pred[..., :4], y_pred[..., 4:]
        per_box = tf.ones_like(labels[..., 0])
        if weight is not None:
            weight = match_rank(tf.cast(weight, y_pred.dtype), min(len(weight.shape), 2))
            if len(weight.shape) == 2 and (weight.shape[1] != 1 or labels.shape[1] == 1):
                per_box = weight
        classes = tf.where(per_box > 0, tf.cast(labels[..., 4], tf.int32), PADDING)
        truth = to_xyxy(labels[..., :4], self.format, self.image_size)
        one_more = [[0, 0], [0, 1]]  # a row of padding, so that there is one
        truth, per_box = tf.pad(truth, [*one_more, [0, 0]]), tf.pad(per_box, one_more)
        classes = tf.pad(classes, one_more, constant_values=PADDING)
        assigned = self._assigned(*map(tf.stop_gradient, (truth, classes, boxes, logits)))
        targets, counts = assigned.quality, tf.gather(per_box, assigned.box, batch_dims=1)
        counts = tf.where(assigned.quality > 0, counts, 1.0)
        target_class = tf.gather(classes, assigned.box, batch_dims=1)
        cells = targets[..., None] * tf.one_hot(target_class, logits.shape[-1], dtype=logits.dtype)
        crossentropy = tf.nn.sigmoid_cross_entropy_with_logits(cells, logits)
        focus = tf.maximum(tf.abs(cells - tf.sigmoid(logits)), 1e-7) ** self.gamma
        class_loss = tf.reduce_sum(focus * crossentropy, -1) * counts * tf.cast(assigned.counted, logits.dtype)
        box_loss = self._boxes.call(tf.gather(truth, assigned.box, batch_dims=1), boxes)
        box_loss = tf.where(targets > 0, box_loss, 0.0) * targets * counts
        total = tf.reduce_sum(class_loss + self.box_weight * box_loss, 1)
        loss = total / tf.maximum(tf.reduce_sum(targets * counts, 1), 1.0)
        is_finite = tf.reduce_all(tf.math.is_finite(y_pred), [1, 2])  # also where no box is compared
        return tf.where(is_finite, loss, float("nan"))

    def _assigned(self, truth, classes, boxes, logits):
        points, _ = centres(self.levels, self.image_size)
        is_box, is_crowd = classes >= 0, classes < PADDING
        inside = tf.reduce_all((points >= truth[:, :, None, :2]) & (points <= truth[:, :, None, 2:]), -1)  # [B, M, A]
        middle = (truth[..., :2] + truth[..., 2:]) / 2
        distance = tf.reduce_sum((middle[:, :, None] - points) ** 2, -1)
        may_answer = (inside | (distance <= tf.reduce_min(distance, 2, keepdims=True))) & is_box[..., None]
        iou = tf.maximum(pairwise_iou(truth, boxes), 1e-3)  # never 0, so that each box is learnt
        scores = tf.gather(tf.sigmoid(logits), tf.maximum(classes, 0), axis=2, batch_dims=1)  # [B, A, M]
        alignment = tf.transpose(scores, [0, 2, 1]) * iou**6
        # Where all alignments are tiny, as at the start, the order is that of the overlap, then of the distance.
        rank = tf.where(may_answer, alignment + 1e-9 * iou - 1e-15 * distance, -1.0)
        highest = tf.math.top_k(rank, min(self.top, len(points))).values[..., -1:]
        chosen = may_answer & (rank >= highest)
        box = tf.argmax(tf.where(chosen, iou, -1.0), 1, tf.int32)  # [B, A]
        own = chosen & (tf.range(tf.shape(truth)[1])[:, None] == box[:, None])
        alignment, iou = (tf.where(own, x, 0.0) for x in (alignment, iou))
        scale = tf.math.divide_no_nan(tf.reduce_max(iou, 2), tf.reduce_max(alignment, 2))
        quality = tf.reduce_max(alignment * scale[..., None], 1)
        in_crowd = tf.reduce_any(inside & is_crowd[..., None], 1)
        return _Assigned(box, quality, ~in_crowd | (quality > 0))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "levels": self.levels,
            "image_size": self.image_size,
            "kind": self._boxes.kind,
            "format": self.format,
            "gamma": self.gamma,
            "box_weight": self.box_weight,
            "top": self.top,
        }


class _Assigned(NamedTuple):
    """What each position answers for, all [B, A].

    Attributes:
        box: The index of its box.
        quality: The target of the class' probability; 0 for positions that answer for no box.
        counted: Whether it has a class loss.
    """

    box: tf.Tensor
    quality: tf.Tensor
    counted: tf.Tensor
