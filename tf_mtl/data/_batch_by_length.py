"""Batches of rows that differ in length."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tf_mtl._arguments import integer


def batch_by_length(
    rows: tf.data.Dataset, batch_size: int, boundaries: Sequence[int] | None = None, *, drop_remainder: bool = False
) -> tf.data.Dataset:
    """Batch rows with axes of unknown length, padded with zeros to one length: the longest axis of the batch, or 1.

    All unknown axes of inputs, labels and label weights get that same length, so a label without words has the shape of
    one with words. Strings are padded with "". With `boundaries` a batch has rows of like length only, which saves
    padding: rows wait until there are enough of their group, so they leave in another order, the same each time.

    Args:
        rows: Unbatched rows (x, {task: y}), (x, {task: y}, {task: weight}) or x; every rank must be known.
        batch_size: Rows of a batch.
        boundaries: Rising lengths at which groups begin: [16, 32] makes three, of rows below 16, below 32, and the
            rest. A row's length is that of the longest unknown axis in x. None makes one group.
        drop_remainder: Whether to leave out the batches at the end of the data, one of each group, that are not full.

    Returns:
        A data set of batches [batch_size, ...].

    Raises:
        ValueError: for a batch size below 1, boundaries that do not rise, boundaries where x has no unknown axis, and
            an unknown rank.

    Example:

    >>> rows = tf.data.Dataset.range(1, 7).map(lambda n: tf.ones([n]))
    >>> [tuple(batch.shape) for batch in mtl.data.batch_by_length(rows, 2)]
    [(2, 2), (2, 4), (2, 6)]
    >>> [tuple(batch.shape) for batch in mtl.data.batch_by_length(rows.shuffle(6, seed=0), 3, boundaries=[4])]
    [(3, 6), (3, 3)]
    """
    return one_length(batches(rows, batch_size, boundaries, drop_remainder))


def batches(rows: tf.data.Dataset, batch_size: int, boundaries: Sequence[int] | None, full: bool) -> tf.data.Dataset:
    """Return batches of rows of like length, each tensor padded to its own longest; only `full` ones where asked."""
    integer("batch_size", batch_size, 1)
    _check_ranks(rows.element_spec)
    if boundaries is None:
        return _batch(rows, batch_size, full)
    edges = list(boundaries)
    if not edges or edges != sorted(set(edges)):
        raise ValueError(f"`boundaries` must be rising lengths, such as [16, 32, 64], received {boundaries!r}.")
    axes = _unknown_axes(_inputs(rows.element_spec))
    if not axes:
        raise ValueError(
            "`boundaries` group rows by the longest unknown axis of their inputs, but the inputs have none: "
            f"{_inputs(rows.element_spec)}. Leave `boundaries` out, or give rows that are not padded."
        )

    def group(*row):
        leaves = keras.tree.flatten(_inputs(row if len(row) > 1 else row[0]))
        length = tf.reduce_max([tf.shape(leaves[leaf], tf.int64)[axis] for leaf, axis in axes])
        return tf.reduce_sum(tf.cast(length >= tf.constant(edges, tf.int64), tf.int64))

    return rows.group_by_window(group, lambda _, window: _batch(window, batch_size, full), window_size=batch_size)


def one_length(found: tf.data.Dataset) -> tf.data.Dataset:
    """Pad the unknown axes of batches, their first axis aside, to one length."""
    leaves = keras.tree.flatten(found.element_spec)
    axes = [(leaf, axis) for leaf, axis in _unknown_axes(found.element_spec) if axis]
    if not axes:
        return found

    def pad(*batch):
        batch = batch if len(batch) > 1 else batch[0]
        tensors = keras.tree.flatten(batch)
        length = tf.reduce_max([1, *(tf.shape(tensors[leaf])[axis] for leaf, axis in axes)])  # empty texts alone
        for leaf in {leaf: None for leaf, _ in axes}:
            shape = tf.shape(tensors[leaf])
            lacking = [length - shape[axis] if (leaf, axis) in axes else 0 for axis in range(len(leaves[leaf].shape))]
            static = tensors[leaf].shape
            tensors[leaf] = tf.pad(tensors[leaf], [[0, n] for n in lacking], constant_values=_zero(leaves[leaf].dtype))
            tensors[leaf].set_shape(static)
        return keras.tree.pack_sequence_as(batch, tensors)

    return found.map(pad)


def _zero(dtype):
    return "" if dtype == tf.string else tf.zeros([], dtype)


def _batch(rows, batch_size, full):
    return (
        rows.padded_batch(batch_size, drop_remainder=full)
        if _unknown_axes(rows.element_spec)
        else rows.batch(batch_size, drop_remainder=full)
    )


def _inputs(element):
    return element[0] if isinstance(element, tuple) else element


def _unknown_axes(element):
    """Return (leaf, axis) of all axes of unknown length."""
    leaves = enumerate(keras.tree.flatten(element))
    return [(i, axis) for i, spec in leaves for axis, size in enumerate(spec.shape) if size is None]


def _check_ranks(element):
    for path, spec in keras.tree.flatten_with_path(element):
        if spec.shape.rank is None:
            raise ValueError(
                f"`rows` must have tensors of known rank, received {spec} at {'/'.join(map(str, path)) or 'x'}. "
                "Set its shape in a `map`: tf.ensure_shape(tensor, [None])."
            )
