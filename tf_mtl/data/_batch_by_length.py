"""Batches of rows that differ in length."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import integer


def batch_by_length(
    rows: tf.data.Dataset, batch_size: int, boundaries: Sequence[int] | None = None, *, drop_remainder: bool = False
) -> tf.data.Dataset:
    """Batch rows with axes of unknown length, padded with zeros to one length: that of the longest input, or 1.

    Shorter axes of unknown length, of inputs, labels and label weights, are padded to it, so a missing label of length
    0 gets the shape of a full one. Labels that are longer than the inputs, such as a long text to generate, keep their
    own length. Strings are padded with "". With `boundaries`, all rows of a batch have a similar length, which saves
    padding: rows wait until their group fills a batch, so they leave in a different order, which is the same each time.

    Args:
        rows: Unbatched rows (x, {task: y}), (x, {task: y}, {task: weight}) or x; every rank must be known.
        batch_size: The number of rows of a batch.
        boundaries: Increasing lengths at which groups begin: [16, 32] makes three, of rows below 16, of rows from 16 to
            31, and of the rest. A row's length is that of the longest unknown axis in x. None makes one group.
        drop_remainder: Whether to drop the batches at the end of the data, one per group, that are not full.

    Returns:
        A data set of batches [batch_size, ...].

    Raises:
        ValueError: for a batch size below 1, boundaries that do not increase, boundaries where x has no unknown axis,
            and an unknown rank.

    Example:

    >>> rows = tf.data.Dataset.range(1, 7).map(lambda n: tf.ones([n]))
    >>> [tuple(batch.shape) for batch in mtl.data.batch_by_length(rows, 2)]
    [(2, 2), (2, 4), (2, 6)]
    >>> [tuple(batch.shape) for batch in mtl.data.batch_by_length(rows.shuffle(6, seed=0), 3, boundaries=[4])]
    [(3, 6), (3, 3)]
    """
    batch_size = integer("batch_size", batch_size, 1)
    return pad_to_one_length(grouped_batches(rows, batch_size, boundaries, drop_remainder))


def grouped_batches(
    rows: tf.data.Dataset, batch_size: int, boundaries: Sequence[int] | None, drop_remainder: bool
) -> tf.data.Dataset:
    """Return batches of rows of similar length, each tensor padded to the longest of its own in the batch."""
    _check_ranks(rows.element_spec)
    if boundaries is None:
        return _padded_batches(rows, batch_size, drop_remainder)
    edges = list(boundaries)
    if not edges or edges != sorted(set(edges)):
        raise ValueError(f"`boundaries` must be increasing lengths, such as [16, 32, 64], received {boundaries!r}.")
    input_spec = _inputs(rows.element_spec)
    axes = _unknown_axes(input_spec)
    if not axes:
        raise ValueError(
            "`boundaries` group rows by the longest unknown axis of their inputs, but the inputs have no unknown axis: "
            f"{input_spec}. Omit `boundaries`, or pass rows without padding."
        )

    def group(*row):
        leaves = keras.tree.flatten(_inputs(row if len(row) > 1 else row[0]))
        length = tf.reduce_max([tf.shape(leaves[leaf], tf.int64)[axis] for leaf, axis in axes])
        return tf.reduce_sum(tf.cast(length >= tf.constant(edges, tf.int64), tf.int64))

    return rows.group_by_window(
        group, lambda _, window: _padded_batches(window, batch_size, drop_remainder), window_size=batch_size
    )


def pad_to_one_length(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Pad all unknown axes but the first: those of inputs to one length, and shorter ones of labels to that length."""
    specs = keras.tree.flatten(batches.element_spec)
    axes = [(leaf, axis) for leaf, axis in _unknown_axes(batches.element_spec) if axis]
    if not axes:
        return batches

    def pad(*batch):
        batch = batch if len(batch) > 1 else batch[0]
        tensors = keras.tree.flatten(batch)
        inputs = len(keras.tree.flatten(_inputs(batch)))  # which come first
        sizes = [tf.shape(tensors[leaf])[axis] for leaf, axis in axes if leaf < inputs]
        length = tf.reduce_max([1, *sizes])  # 1: all texts are empty
        for leaf in {leaf: None for leaf, _ in axes}:
            shape, static_shape = tf.shape(tensors[leaf]), tensors[leaf].shape
            lacking = tf.maximum(length - shape, 0)
            padding = [lacking[axis] if (leaf, axis) in axes else 0 for axis in range(len(specs[leaf].shape))]
            tensors[leaf] = tf.pad(
                tensors[leaf], [[0, size] for size in padding], constant_values=_padding_value(specs[leaf].dtype)
            )
            tensors[leaf].set_shape(static_shape)
        return keras.tree.pack_sequence_as(batch, tensors)

    return batches.map(pad)


def _padding_value(dtype):
    return "" if dtype == tf.string else tf.zeros([], dtype)


def _padded_batches(rows, batch_size, drop_remainder):
    return (
        rows.padded_batch(batch_size, drop_remainder=drop_remainder)
        if _unknown_axes(rows.element_spec)
        else rows.batch(batch_size, drop_remainder=drop_remainder)
    )


def _inputs(element):
    return element[0] if isinstance(element, tuple) else element


def _unknown_axes(element_spec: Any) -> list[tuple[int, int]]:
    """Return (leaf, axis) for each axis of unknown length, with leaves numbered as in the flattened element."""
    leaves = enumerate(keras.tree.flatten(element_spec))
    return [(leaf, axis) for leaf, spec in leaves for axis, size in enumerate(spec.shape) if size is None]


def _check_ranks(element_spec):
    for path, spec in keras.tree.flatten_with_path(element_spec):
        if spec.shape.rank is None:
            raise ValueError(
                f"`rows` must have tensors of known rank, received {spec} at {'/'.join(map(str, path)) or 'x'}. "
                "Set its shape in a `map`: tf.ensure_shape(tensor, [None])."
            )
