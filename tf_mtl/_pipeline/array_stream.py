"""Arrays as a stream of batches of their rows."""

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._pipeline.forms import Data
from tf_mtl._pipeline.stream import Stream


class ArrayStream(Stream):
    """Batches of the rows of arrays, floats in Keras' `floatx`.

    Its position counts rows, so that training can resume with another batch size.

    Args:
        data: (x, y, label weights).
        batch_size: The number of rows of a batch.
        shuffle: Whether to shuffle the rows, in a new order in each pass.
    """

    def __init__(self, data: Data, batch_size: int, shuffle: bool):
        with tf.device("/device:CPU:0"):
            self._data = keras.tree.map_structure(lambda a: None if a is None else _tensor(a), data, none_is_leaf=True)
        self.batch_elements = batch_size
        self._rows = len(keras.tree.flatten(self._data[0])[0])
        order = tf.data.Dataset.range(self._rows)
        self.order = order.shuffle(self._rows) if shuffle else order
        super().__init__(self._skip(0))

    @property
    def size(self) -> int:
        """The number of rows."""
        return self._rows

    def _skip(self, elements):
        def batch(indices):
            return keras.utils.pack_x_y_sample_weight(
                *keras.tree.map_structure(
                    lambda a: None if a is None else tf.gather(a, indices), self._data, none_is_leaf=True
                )
            )

        batches = self.order.skip(elements).batch(self.batch_elements)
        return batches.map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def split(data: Data, fraction: float) -> tuple[Data, Data]:
    """Split arrays, (x, y, weight), into their first rows and the last `fraction` of them.

    Raises:
        ValueError: for other kinds of data, or a fraction that leaves one side without rows.
    """
    leaves = [leaf for leaf in keras.tree.flatten(data) if leaf is not None]
    if not all(hasattr(leaf, "shape") for leaf in leaves):
        raise ValueError(
            f"`validation_split` needs `x` and `y` to be arrays, received {type(data[0]).__name__}. "
            "Pass `validation_data`."
        )
    rows = leaves[0].shape[0]
    end = int(rows * (1.0 - fraction))
    if not 0 < end < rows:
        raise ValueError(f"`validation_split={fraction}` leaves one side of {rows} rows empty.")

    def part(first, last):
        return keras.tree.map_structure(lambda a: None if a is None else _rows(a, first, last), data, none_is_leaf=True)

    return part(0, end), part(end, rows)


def _rows(array, first, last):
    if not isinstance(array, tf.SparseTensor):
        return array[first:last]
    start = [first, *[0] * (array.shape.rank - 1)]
    return tf.sparse.slice(array, start, [last - first, *array.shape[1:]])


def _tensor(array):
    if isinstance(array, np.ndarray) and array.dtype.kind == "f":
        array = array.astype(keras.config.floatx(), copy=False)
    return tf.convert_to_tensor(array)
