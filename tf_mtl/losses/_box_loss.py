"""How far predicted boxes are from the labelled ones."""

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._boxes import XYXY, areas, checked_format, intersections, is_relative, to_xyxy
from tf_mtl._names import nearest


@keras.saving.register_keras_serializable("tf_mtl")
class BoxLoss(keras.losses.Loss):
    r"""One minus the overlap of two boxes, one value per box, [...], from boxes [..., 4].

    With $I$ the area that the boxes $A$ and $B$ have in common and $U$ that of their union, $C$ the smallest box around
    both, $c$ its diagonal, $d$ the distance of the boxes' centres, and $w, h$ the sides of a box:

    $$\mathrm{IoU} = \frac{I}{U} \qquad \mathrm{GIoU} = \mathrm{IoU} - \frac{|C| - U}{|C|} \qquad
    \mathrm{DIoU} = \mathrm{IoU} - \frac{d^2}{c^2} \qquad \mathrm{CIoU} = \mathrm{DIoU} - \alpha v$$

    $$v = \frac{4}{\pi^2} \left(\arctan \frac{w_A}{h_A} - \arctan \frac{w_B}{h_B}\right)^2 \qquad
    \alpha = \frac{v}{1 - \mathrm{IoU} + v}$$

    $\alpha$ is a constant for the gradient. For boxes apart the gradient of IoU is zero, and that of the others is not.

    Args:
        kind: "iou", "giou", "diou" or "ciou".
        format: The format of the boxes, as in `keras.utils.bounding_boxes`: "xyxy" is (left, top, right, bottom).
            Overlaps of relative boxes are those in an image that is as high as wide.
        reduction: See `keras.losses.Loss`.
        name: Name of the loss.
        dtype: See `keras.losses.Loss`.

    Raises:
        ValueError: for another kind or format.

    References: Rezatofighi et al., "Generalized intersection over union", CVPR 2019; Zheng et al., "Distance-IoU loss:
    faster and better learning for bounding box regression", AAAI 2020.

    Example:

    >>> boxes = np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([[2.0, 0.0, 4.0, 2.0]])
    >>> [round(float(mtl.losses.BoxLoss(kind).call(*boxes)[0]), 4) for kind in ("iou", "giou", "diou")]
    [1.0, 1.0, 1.2]
    """

    def __init__(
        self,
        kind: str = "giou",
        format: str = XYXY,
        reduction: str = "sum_over_batch_size",
        name: str = "box_loss",
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype)
        if kind not in _PENALTIES:
            raise ValueError(f"`kind` must be one of {list(_PENALTIES)}, received {kind!r}.{nearest(kind, _PENALTIES)}")
        self.kind = kind
        self.format = checked_format("format", format)

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """Return the loss of each box, [...], from labels and predictions, both [..., 4]."""
        y_pred = tf.convert_to_tensor(y_pred)
        size = (1, 1) if is_relative(self.format) else None
        true, predicted = (to_xyxy(boxes, self.format, size) for boxes in (tf.cast(y_true, y_pred.dtype), y_pred))
        common = intersections(true, predicted)
        union = areas(true) + areas(predicted) - common
        iou = tf.math.divide_no_nan(common, union)
        return 1 - iou + _PENALTIES[self.kind](true, predicted, iou, union)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kind": self.kind, "format": self.format}


def _around(true, predicted):
    """The sides of the smallest box around both."""
    return tf.maximum(true[..., 2:], predicted[..., 2:]) - tf.minimum(true[..., :2], predicted[..., :2])


def _empty_part(true, predicted, iou, union):
    around = tf.reduce_prod(_around(true, predicted), -1)
    return tf.math.divide_no_nan(around - union, around)


def _distance(true, predicted, iou, union):
    between = (true[..., :2] + true[..., 2:] - predicted[..., :2] - predicted[..., 2:]) / 2
    diagonal = _around(true, predicted)
    return tf.math.divide_no_nan(tf.reduce_sum(between**2, -1), tf.reduce_sum(diagonal**2, -1))


def _distance_and_shape(true, predicted, iou, union):
    angles = []
    for boxes in (true, predicted):
        width, height = tf.unstack(boxes[..., 2:] - boxes[..., :2], axis=-1)
        angles.append(tf.atan2(width, tf.where(height > 0, height, 1e-7)))
    v = (angles[0] - angles[1]) ** 2 * 4 / math.pi**2
    alpha = tf.stop_gradient(tf.math.divide_no_nan(v, 1 - iou + v))
    return _distance(true, predicted, iou, union) + alpha * v


_PENALTIES: dict[str, Callable[..., Any]] = {
    "iou": lambda true, predicted, iou, union: 0.0,
    "giou": _empty_part,
    "diou": _distance,
    "ciou": _distance_and_shape,
}
