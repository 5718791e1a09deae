"""The batches of a data set, with a position that training in another process can resume from."""

import math
from collections.abc import Iterator
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
        passes: The number of completed passes through its data set.
        batches: The number of batches drawn since.
    """

    passes: int
    batches: int


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
        return Stream(_batches((x, y, weight), batch_size or 32, shuffle))
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


def _batches(data, batch_size, shuffle):
    """A data set of batches of the rows of arrays, floats in Keras' `floatx`."""
    with tf.device("/device:CPU:0"):
        data = keras.tree.map_structure(lambda a: None if a is None else _tensor(a), data, none_is_leaf=True)
    rows = len(keras.tree.flatten(data[0])[0])
    order = tf.data.Dataset.range(rows)
    order = order.shuffle(rows) if shuffle else order

    def batch(indices):
        return keras.utils.pack_x_y_sample_weight(
            *keras.tree.map_structure(lambda a: None if a is None else tf.gather(a, indices), data, none_is_leaf=True)
        )

    return order.batch(batch_size).map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


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
        check: The check that a step begins with; None if there is none, or it is part of the pipeline.
        position: How far the stream has been read.
        steps: The number of batches drawn, in earlier processes too.
        calls_to_replay: Step calls already executed by the process being resumed, which are still to be counted.
        epoch_size: The number of batches of an epoch, for endless data; None where nothing is known of epochs.
    """

    def __init__(self, data: tf.data.Dataset | DataAdapter, check: BatchCheck | None = None):
        self.check: BatchCheck | None = None if gpus() else check
        self._pipeline_check: BatchCheck | None = check if gpus() else None
        self._adapter = data if isinstance(data, DataAdapter) else None
        self.dataset = data if self._adapter is None else data.get_tf_dataset()
        self.position = Position(0, 0)
        self.steps = 0
        self.calls_to_replay = 0
        self.epoch_size: int | None = None
        self._logs: dict[str, float] = {}
        self._passes_opened, self._resumed, self._epoch_exhausted = 0, False, False

    @property
    def resumable(self) -> bool:
        """Whether the stream can be read again from a position."""
        return self._adapter is None

    @property
    def passes_begun(self) -> int:
        """The number of passes begun."""
        return self.position.passes + (self.position.batches > 0)

    @property
    def shuffles_without_seed(self) -> bool:
        """Whether a shuffle has another order in every process."""
        return self.resumable and _unseeded(self.dataset)

    def resume(self, position: Position, steps: int = 0, calls: int = 0, logs: dict[str, float] | None = None) -> None:
        """Continue from a position.

        Args:
            position: The position.
            steps: The number of batches drawn so far.
            calls: The number of step calls already executed in the current epoch.
            logs: What the last of these calls returned.
        """
        self.position, self.steps, self.calls_to_replay, self._logs = position, steps, calls, logs or {}
        self._resumed = True
        self._epoch_exhausted = calls > 0 and position.batches == 0

    def replay(self) -> dict[str, float]:
        """Count one step call as executed, and return the logs."""
        self.calls_to_replay -= 1
        return dict(self._logs)

    def begin(self) -> "Pass":
        """Return a pass; an exhausted one when resuming an epoch whose data were already consumed."""
        exhausted, self._epoch_exhausted = self._epoch_exhausted, False
        return Pass(self, exhausted)

    def open(self) -> tf.data.Iterator:
        """Return an iterator at the position, or at the start of a new pass if the last one was abandoned."""
        if not self._resumed and self.position.batches:
            self.close()
        self._resumed = False
        while self._passes_opened < self.position.passes and self.resumable:
            iter(self.dataset)  # a shuffle draws the order of the next pass when an iterator is made
            self._passes_opened += 1
        self._passes_opened += 1
        dataset = self.dataset.skip(self.position.batches) if self.position.batches else self.dataset
        if self._pipeline_check is not None:
            dataset = CheckedDataset(dataset, self._pipeline_check).in_pipeline()
        return iter(on_device(dataset))

    def close(self) -> None:
        """End the current pass."""
        self.position = Position(self.position.passes + 1, 0)

    def advance(self, batches: int) -> None:
        """Count batches that were drawn."""
        self.steps += batches
        self.position = self.position._replace(batches=self.position.batches + batches)

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
        size = int(self.dataset.cardinality())
        return size if size >= 0 else None

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


class Pass(Iterator):
    """One pass through a stream; opened when the first batch is drawn.

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
        size = int(self.stream.dataset.cardinality())
        if self._exhausted:
            return 0
        if size == tf.data.INFINITE_CARDINALITY:
            epoch = self.stream.epoch_size
            return math.inf if epoch is None else epoch - self.stream.steps % epoch
        return None if size < 0 else size - self.stream.position.batches

    def advance(self, batches: int) -> None:
        """Count batches that were drawn."""
        self.stream.advance(batches)
        if self.stream.position.batches == self.stream.num_batches:
            self.close()

    def close(self) -> None:
        """End the pass."""
        if not self._exhausted:
            self._exhausted = True
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


def _unseeded(dataset):
    """Whether a data set, or one that it reads from, is a shuffle whose two seeds are 0, which means no seed."""
    seeds = [getattr(dataset, name, None) for name in ("_seed", "_seed2")]
    if all(seed is not None and int(seed) == 0 for seed in seeds):
        return True
    return any(_unseeded(source) for source in dataset._inputs())
