"""Labels of annotated images."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from tf_mtl.images import LocatedImages
from tf_mtl.tasks._map_files import decode_map


def image_field(task: str, record: Mapping[str, tf.Tensor], field: str) -> tf.Tensor:
    """Return a field of a record.

    Raises:
        ValueError: if the record lacks it.
    """
    if field not in record:
        raise ValueError(
            f"The records must have the field '{field}' for task '{task}', received {sorted(record)}. Add it with "
            "`map`."
        )
    return record[field]


def file_of(record: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Return the path of a record's picture, for messages; empty where it is unknown."""
    return record.get("file", tf.constant(""))


def class_index(task: str, labels: Sequence[str], names: tf.Tensor, file: tf.Tensor) -> tf.Tensor:
    """Return the indices of class names, int32 [...], -1 for an empty one; fails for an unknown name."""
    matches = names[..., None] == tf.constant(list(labels))
    with tf.control_dependencies([_assert_known(task, labels, names, tf.reduce_any(matches, -1), file)]):
        return tf.where(names == "", -1, tf.argmax(matches, -1, tf.int32))


def class_cells(task: str, labels: Sequence[str], names: tf.Tensor, file: tf.Tensor) -> tf.Tensor:
    """Return a cell per class, float32 [C], for a list of names [K]; fails for an unknown name."""
    matches = names[:, None] == tf.constant(list(labels))
    with tf.control_dependencies([_assert_known(task, labels, names, tf.reduce_any(matches, -1), file)]):
        return tf.cast(tf.reduce_any(matches, 0), tf.float32)


def _assert_known(task, labels, names, is_known, file):
    rule = f"Labels of task '{task}' must be among {list(labels)}. Received, and the picture:"
    return tf.group(tf.debugging.Assert(tf.reduce_all(is_known | (names == "")), [rule, names, file]))


def placed_map(
    values: tf.Tensor, image: LocatedImages, image_size: tuple[int, int], outside: float, file: tf.Tensor
) -> tf.Tensor:
    """Return a label map of an original image as one of the model's image, by the nearest pixels.

    Args:
        values: Numbers [h, w] or [h, w, C], or the bytes of an image file, which are empty for a missing map: then all
            values are `outside`.
        image: Where the model's image comes from, with a batch of one.
        image_size: Height and width of the model's image.
        outside: The value around the image.
        file: The name of the picture, for messages.
    """
    if values.dtype == tf.string:
        encoded = values
        values = tf.cond(
            encoded == b"", lambda: tf.fill(image.sizes[0], int(outside)), lambda: decode_map(encoded, file)
        )
        values = tf.ensure_shape(values, [None, None])
    rule = "A label map must have the size of its image. Received, the image's, and the picture:"
    same_size = tf.reduce_all(tf.shape(values)[:2] == image.sizes[0])
    with tf.control_dependencies([tf.debugging.Assert(same_size, [rule, tf.shape(values)[:2], image.sizes[0], file])]):
        values = tf.identity(values)
    has_channels = len(values.shape) == 3
    values = values if has_channels else values[..., None]
    height, width = image_size
    x, y = (
        (tf.range(size, dtype=tf.float32) + 0.5 - image.offsets[0, axis]) / image.scales[0, axis]
        for axis, size in ((0, width), (1, height))
    )
    sizes = tf.cast(tf.shape(values)[:2], tf.float32)
    inside = ((y >= 0) & (y < sizes[0]))[:, None] & ((x >= 0) & (x < sizes[1]))
    rows, columns = (
        tf.cast(tf.clip_by_value(tf.floor(v), 0.0, size - 1), tf.int32) for v, size in ((y, sizes[0]), (x, sizes[1]))
    )
    placed = tf.gather(tf.gather(values, rows, axis=0), columns, axis=1)
    placed = tf.where(inside[..., None], placed, tf.cast(outside, values.dtype))
    placed = tf.ensure_shape(placed, [height, width, values.shape[-1]])
    return placed if has_channels else placed[..., 0]
