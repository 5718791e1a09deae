"""Labels of annotated images."""

from collections.abc import Mapping, Sequence

import tensorflow as tf


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


def class_index(labels: Sequence[str], names: tf.Tensor) -> tf.Tensor:
    """Return the indices of class names, int32 [...], in a graph that fails for an unknown name."""
    matches = names[..., None] == tf.constant(list(labels))
    rule = f"Labels must be among {list(labels)}. Received:"
    known = tf.debugging.Assert(tf.reduce_all(tf.reduce_any(matches, -1)), [rule, names])
    with tf.control_dependencies([] if known is None else [known]):
        return tf.argmax(matches, -1, tf.int32)
