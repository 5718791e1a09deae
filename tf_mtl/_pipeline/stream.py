"""The batches of a data set, with a position that training in another process can resume from."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from keras.src.trainers.data_adapters import get_data_adapter
from keras.src.trainers.data_adapters.data_adapter import DataAdapter

from tf_mtl._pipeline.checks import BatchCheck, CheckedDataset
from tf_mtl._pipeline.prefetching import gpus, on_device

Data: TypeAlias = tuple[Any, Any, Any]


class Position(NamedTuple):
    """How far a stream has been read.

    Attributes:
        passes: The number of completed passes through its data.
        elements: The number of elements drawn since: rows of arrays, or batches of other data.
    """

    passes: int
    elements: int


def stream(x: Any, y: Any = None, weight: Any = None, batch_size: int | None = None, shuffle: bool = False) -> "Stream":
    """Return a stream of what `fit`, `evaluate` and `predict` take.

    Args:
        x: A data set of batches, with or without a check; inputs, as arrays; or a generator, a `PyDataset` or anything
            else that Keras takes.
        y: Labels, where `x` holds arrays.
        weight: Label weights, where `x` holds arrays.
        batch_size: The number of rows of a batch, for arrays; 32 by default, as in Keras.
        shuffle: Whether to shuffle the rows of arrays, in a new order in each pass.
    """
    if isinstance(x, CheckedDataset):
        return Stream(x.dataset, x.check)
    leaves = keras.tree.flatten((x, y, weight))
    if not isinstance(x, tf.data.Dataset) and all(isinstance(t, (np.ndarray, tf.Tensor, type(None))) for t in leaves):
        return ArrayStream((x, y, weight), batch_size or 32, shuffle)
    shuffle = shuffle and not isinstance(x, tf.data.Dataset)  # for which Keras warns that it ignores the argument
    adapter = get_data_adapter(x, y, weight, batch_size=batch_size, shuffle=shuffle)
    return Stream(x if isinstance(x, tf.data.Dataset) else adapter)


def unpacked(data: Any) -> Data:
    """Return labelled data as (x, y, sample_weight), with None for what is absent."""
    return keras.utils.unpack_x_y_sample_weight(data) if isinstance(data, (tuple, list)) else (data, None, None)


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


class Stream(DataAdapter):
    """The batches that Keras' loops work through: whole, or the `Rows` of each that this worker reads.

    Keras takes it in place of a data set. A pass through the data begins when its first batch is drawn.

    Args:
        data: A `tf.data.Dataset` of batches, or a Keras data adapter for other kinds of data.
        check: The check that batches are still to pass; None if there is none.

    Attributes:
        batch_elements: The number of elements of a batch; see `Position`.
        check: The check that a step begins with; None if there is none, or it is part of the pipeline.
        global_dataset: The batches that all workers read together.
        position: How far the stream has been read.
        steps: The number of batches drawn, in earlier processes too.
        epoch_batches: The number of batches of the current epoch that were drawn or replayed.
        batches_to_replay: Batches of the current epoch that the process being resumed has drawn, which are still to be
            counted.
        epoch_size: The number of batches of an epoch; None for a pass through the data.
    """

    batch_elements = 1

    def __init__(self, data: tf.data.Dataset | DataAdapter, check: BatchCheck | None = None):
        self.check: BatchCheck | None = None if gpus() else check
        self._pipeline_check: BatchCheck | None = check if gpus() else None
        self._adapter = data if isinstance(data, DataAdapter) else None
        self.dataset = data if self._adapter is None else data.get_tf_dataset()
        self.global_dataset = self.dataset
        self.position = Position(0, 0)
        self.steps = 0
        self.epoch_batches = 0
        self.batches_to_replay = 0
        self.epoch_size: int | None = None
        self._logs: dict[str, float] = {}
        self._pass: Pass | None = None
        self._passes_opened, self._resumed_pass, self._resumed_epoch, self._pass_exhausted = 0, False, False, False

    @property
    def resumable(self) -> bool:
        """Whether the stream can be read again from a position."""
        return self._adapter is None

    @property
    def size(self) -> int:
        """The number of elements of a pass, or TensorFlow's constants for infinite and unknown ones."""
        return int(self.dataset.cardinality())

    @property
    def passes_begun(self) -> int:
        """The number of passes begun."""
        return self.position.passes + (self.position.elements > 0)

    def resume(
        self, position: Position, steps: int = 0, epoch_batches: int = 0, logs: Mapping[str, float] | None = None
    ) -> None:
        """Continue from a position.

        Args:
            position: The position.
            steps: The number of batches drawn so far.
            epoch_batches: The number of them in the current epoch.
            logs: What was logged after the last of them.
        """
        self.position, self.steps, self._logs = position, steps, dict(logs or {})
        self._resumed_pass, self._resumed_epoch = True, True
        self._pass_exhausted = epoch_batches > 0 and position.elements == 0
        if self.epoch_size is None and self.size >= 0 and epoch_batches:  # batches may have another size now
            epoch_batches = _ceil(self.size, self.batch_elements) - (self.batches_left if position.elements else 0)
        self.epoch_batches, self.batches_to_replay = 0, epoch_batches

    def begin_epoch(self) -> None:
        """Count the batches of a new epoch, unless it is the one being resumed."""
        if not self._resumed_epoch:
            self.epoch_batches, self.batches_to_replay = 0, 0
        self._resumed_epoch = False

    def replay(self, most: int) -> int:
        """Count up to so many batches as drawn by the process being resumed, and return their number."""
        count = min(most, self.batches_to_replay)
        self.batches_to_replay -= count
        self.epoch_batches += count
        return count

    @property
    def replayed_logs(self) -> dict[str, float]:
        """What was logged after the last batch that the process being resumed has drawn."""
        return dict(self._logs)

    def begin(self) -> "Pass":
        """Return a pass; an exhausted one when resuming an epoch whose data were already consumed.

        Where epochs have a number of steps of their own, a pass goes through several. Keras, which counts the batches
        of this process only, may want to begin the next one too early.
        """
        if self.epoch_size is None or self._pass is None or not self.position.elements:
            self._pass, self._pass_exhausted = Pass(self, self._pass_exhausted), False
        return self._pass

    def open(self) -> tf.data.Iterator:
        """Return an iterator at the position, or at the start of a new pass if the last one was abandoned."""
        if not self._resumed_pass and self.position.elements:
            self.close()
        self._resumed_pass = False
        while self._passes_opened < self.position.passes and self.resumable:
            iter(self.dataset)  # a shuffle draws the order of the next pass when an iterator is made
            self._passes_opened += 1
        self._passes_opened += 1
        dataset = self._skip(self.position.elements) if self.position.elements else self.dataset
        if self._pipeline_check is not None:
            dataset = CheckedDataset(dataset, self._pipeline_check).in_pipeline()
        return iter(on_device(dataset))

    def close(self) -> None:
        """End the current pass."""
        self.position = Position(self.position.passes + 1, 0)

    def advance(self, batches: int) -> None:
        """Count batches that were drawn."""
        self.steps += batches
        self.epoch_batches += batches
        elements = self.position.elements + batches * self.batch_elements
        self.position = self.position._replace(elements=min(elements, self.size) if self.size >= 0 else elements)

    @property
    def batches_left(self) -> int:
        """The number of batches left in the current pass through finite data."""
        return _ceil(self.size - self.position.elements, self.batch_elements)

    def _skip(self, elements):
        """A data set of the batches after so many elements."""
        return self.dataset.skip(elements)

    def get_tf_dataset(self):
        """Return what Keras iterates over, and does not divide among replicas."""
        return _Undivided(self)

    def get_numpy_iterator(self):
        raise NotImplementedError("tf_mtl works on Keras' TensorFlow backend.")

    get_jax_iterator = get_torch_dataloader = get_numpy_iterator

    @property
    def num_batches(self):
        """The number of batches of a pass; None where it is unknown or infinite."""
        if self._adapter is not None:
            return self._adapter.num_batches
        return _ceil(self.size, self.batch_elements) if self.size >= 0 else None

    @property
    def batch_size(self):
        """None: batches may differ in size."""
        return None

    has_partial_batch = partial_batch_size = batch_size

    def on_epoch_begin(self):
        if self._adapter is not None:
            self._adapter.on_epoch_begin()

    def on_epoch_end(self):
        if self._adapter is not None:
            self._adapter.on_epoch_end()


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


class Pass(Iterator):
    """One pass through a stream; opened when the first batch is drawn.

    Keras keeps it from one epoch to the next where an epoch has a number of steps of its own. Exhausted at the end of
    an epoch, it begins again with the next.

    Args:
        stream: The stream.
        exhausted: Whether no batch is left.
    """

    def __init__(self, stream: Stream, exhausted: bool = False):
        self.stream = stream
        self._iterator: tf.data.Iterator | None = None
        self._exhausted = exhausted

    def source(self) -> tf.data.Iterator:
        """Return the iterator of the batches."""
        if self._iterator is None:
            self._iterator = self.stream.open()
        return self._iterator

    @property
    def remaining(self) -> int | float | None:
        """The number of batches left, in the epoch if the data are endless; None where it is unknown."""
        if self._exhausted and self.stream.epoch_batches:
            return 0
        size, epoch = self.stream.size, self.stream.epoch_size
        if size == tf.data.INFINITE_CARDINALITY:
            return math.inf if epoch is None else epoch - self.stream.epoch_batches
        return None if size < 0 else self.stream.batches_left

    def advance(self, batches: int) -> None:
        """Count batches that were drawn."""
        self._exhausted = False
        self.stream.advance(batches)
        if self.stream.position.elements == self.stream.size:
            self.close()

    def close(self) -> None:
        """End the pass."""
        if not self._exhausted:
            self._exhausted, self._iterator = True, None
            self.stream.close()

    def __next__(self) -> Any:
        batch = next(self.source())
        self.advance(1)
        return batch


class _Undivided(tf.distribute.DistributedDataset):
    """A data set that Keras takes for one that is already divided among replicas."""

    def __init__(self, stream):
        self._stream = stream

    def __iter__(self):
        return self._stream.begin()


def _ceil(dividend, divisor):
    return -(-dividend // divisor)
