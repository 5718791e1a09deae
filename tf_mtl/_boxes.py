"""Boxes: their formats, and their overlap."""

from typing import Any

import keras
import tensorflow as tf

XYXY = "xyxy"
PADDING = -1  # the class of padded boxes
_ABSOLUTE = (XYXY, "yxyx", "xywh", "center_xywh", "center_yxhw")
FORMATS = (*_ABSOLUTE, "rel_xyxy", "rel_yxyx", "rel_xywh", "rel_center_xywh")


def checked_format(argument: str, value: str) -> str:
    """Return a format of boxes, as `keras.utils.bounding_boxes` names them.

    Raises:
        ValueError: for another one.
    """
    if value not in FORMATS:
        raise ValueError(f"`{argument}` must be one of {list(FORMATS)}, received {value!r}.")
    return value


def is_relative(box_format: str) -> bool:
    """Return whether coordinates are fractions of the image's width and height."""
    return box_format not in _ABSOLUTE


def to_xyxy(boxes: tf.Tensor, box_format: str, image_size: tuple[int, int] | None) -> tf.Tensor:
    """Return boxes [..., 4] as (left, top, right, bottom), in pixels.

    Args:
        boxes: The boxes.
        box_format: Their format.
        image_size: Height and width of the image, for relative formats.
    """
    if box_format == XYXY:
        return boxes
    height, width = image_size if is_relative(box_format) and image_size is not None else (1, 1)
    flat = tf.reshape(boxes, [-1, 4])
    target = "rel_xyxy" if is_relative(box_format) else XYXY
    converted = keras.utils.bounding_boxes.convert_format(flat, box_format, target, height, width, boxes.dtype.name)
    return tf.reshape(converted, tf.shape(boxes)) * tf.constant([width, height, width, height], boxes.dtype)


def from_xyxy(boxes: tf.Tensor, box_format: str, image_size: tuple[int, int]) -> tf.Tensor:
    """Return boxes [N, 4], (left, top, right, bottom) in pixels, in another format."""
    if box_format == XYXY:
        return boxes
    return keras.utils.bounding_boxes.convert_format(boxes, XYXY, box_format, *image_size, boxes.dtype.name)


def areas(boxes: tf.Tensor) -> tf.Tensor:
    """Return the areas [...] of boxes [..., 4]; 0 where an edge has a negative length."""
    left, top, right, bottom = tf.unstack(boxes, axis=-1)
    return tf.maximum(right - left, 0) * tf.maximum(bottom - top, 0)


def intersections(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Return the areas [...] that boxes have in common with others, both [..., 4], broadcast."""
    (left, top, right, bottom), others = tf.unstack(a, axis=-1), tf.unstack(b, axis=-1)
    width = tf.minimum(right, others[2]) - tf.maximum(left, others[0])
    height = tf.minimum(bottom, others[3]) - tf.maximum(top, others[1])
    return tf.maximum(width, 0) * tf.maximum(height, 0)


def pairwise_iou(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Return the intersection over union of boxes [B, N, 4] and others [B, M, 4], [B, N, M]; 0 without an area."""
    common = intersections(a[:, :, None], b[:, None])
    return tf.math.divide_no_nan(common, areas(a)[:, :, None] + areas(b)[:, None] - common)


def checked_image_size(image_size: Any) -> tuple[int, int]:
    """Return height and width.

    Raises:
        ValueError: unless they are two positive integers.
    """
    sizes = tuple(image_size) if isinstance(image_size, (list, tuple)) else ()
    if len(sizes) != 2 or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ValueError(f"`image_size` must be (height, width), two positive integers, received {image_size!r}.")
    return sizes[0], sizes[1]
