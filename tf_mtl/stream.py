"""The batches of a data set with a place among them, from which training can go on in another process."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras.src.trainers.data_adapters import get_data_adapter
from keras.src.trainers.data_adapters.data_adapter import DataAdapter


class Place(NamedTuple):
    """How far a stream was read.

    Attributes:
        passes: How often its data set was read to the end.
        batches: Batches drawn since.
    """

    passes: int
    batches: int


def stream(x: Any, y: Any = None, weight: Any = None, batch_size: int | None = None, shuffle: bool = False) -> "Stream":
    """Return a stream of what `fit`, `evaluate` and `predict` take.

    Args:
        x: A data set of batches; or inputs, as arrays; or a generator, a `PyDataset` or what else Keras takes.
        y: Labels, where `x` are arrays.
        weight: Label weights, where `x` are arrays.
        batch_size: Rows of a batch of arrays; 32 by default, as in Keras.
        shuffle: Whether to shuffle the rows of arrays, in another order in each pass.
    """
    leaves = keras.tree.flatten((x, y, weight))
    if not isinstance(x, tf.data.Dataset) and all(isinstance(t, (np.ndarray, tf.Tensor, type(None))) for t in leaves):
        return Stream(_batches((x, y, weight), batch_size or 32, shuffle))
    shuffle = shuffle and not isinstance(x, tf.data.Dataset)  # Keras warns of what data sets ignore
    adapter = get_data_adapter(x, y, weight, batch_size=batch_size, shuffle=shuffle)
    return Stream(x if isinstance(x, tf.data.Dataset) else adapter)


def split(data: tuple, fraction: float) -> tuple[tuple, tuple]:
    """Split arrays, (x, y, weight), into their first rows and the last `fraction` of them.

    Raises:
        ValueError: for other kinds of data, or a fraction that leaves no row on one side.
    """
    leaves = [leaf for leaf in keras.tree.flatten(data) if leaf is not None]
    if not all(hasattr(leaf, "shape") for leaf in leaves):
        raise ValueError(
            f"`validation_split` needs `x` and `y` to be arrays, received {type(data[0]).__name__}. "
            "Pass `validation_data`."
        )
    rows = len(leaves[0])
    end = int(rows * (1.0 - fraction))
    if not 0 < end < rows:
        raise ValueError(f"`validation_split={fraction}` leaves no row on one side of {rows} rows.")

    def part(rows):
        return keras.tree.map_structure(lambda a: None if a is None else a[rows], data, none_is_leaf=True)

    return part(slice(0, end)), part(slice(end, None))


def _batches(data, batch_size, shuffle):
    """A data set of the rows of arrays, numbers with a point in Keras' `floatx`."""
    with tf.device("/device:CPU:0"):
        data = keras.tree.map_structure(lambda a: None if a is None else _tensor(a), data, none_is_leaf=True)
    rows = len(keras.tree.flatten(data[0])[0])
    order = tf.data.Dataset.range(rows)
    order = order.shuffle(rows) if shuffle else order

    def batch(places):
        return keras.utils.pack_x_y_sample_weight(
            *keras.tree.map_structure(lambda a: None if a is None else tf.gather(a, places), data, none_is_leaf=True)
        )

    return order.batch(batch_size).map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _tensor(array):
    if isinstance(array, np.ndarray) and array.dtype.kind == "f":
        array = array.astype(keras.config.floatx(), copy=False)
    return tf.convert_to_tensor(array)


class Stream(DataAdapter):
    """The batches that Keras' loops work through, each of them whole on every worker.

    Keras takes it in the place of a data set. A pass through the data begins when its first batch is drawn.

    Args:
        data: A `tf.data.Dataset` of batches, or a data adapter of Keras for other kinds of data.

    Attributes:
        place: How far the stream was read.
        steps: Batches drawn, in earlier processes too.
        replays: Calls for steps to come that were made before, in a process whose work goes on in this one.
        epoch: Batches of an epoch, where data have no end of their own; None where nothing is known of epochs.
    """

    def __init__(self, data: tf.data.Dataset | DataAdapter):
        self._adapter = data if isinstance(data, DataAdapter) else None
        self.dataset = data if self._adapter is None else data.get_tf_dataset()
        self.place = Place(0, 0)
        self.steps = 0
        self.replays = 0
        self.epoch = None
        self._logs = {}
        self._opened, self._resumed, self._epoch_was_read = 0, False, False

    @property
    def resumable(self) -> bool:
        """Whether the stream can be read again from a place."""
        return self._adapter is None

    @property
    def begun(self) -> int:
        """How many passes were begun."""
        return self.place.passes + (self.place.batches > 0)

    @property
    def shuffles_without_seed(self) -> bool:
        """Whether a shuffle draws its order anew in every process."""
        return self.resumable and _unseeded(self.dataset)

    def resume(self, place: Place, steps: int = 0, replays: int = 0, logs: dict[str, float] | None = None) -> None:
        """Go on from a place, after so many steps, and calls in an epoch, of which the last one's logs are given."""
        self.place, self.steps, self.replays, self._logs, self._resumed = place, steps, replays, logs or {}, True
        self._epoch_was_read = replays > 0 and place.batches == 0

    def replay(self) -> dict[str, float]:
        """Count one call as made, and return the logs."""
        self.replays -= 1
        return dict(self._logs)

    def begin(self) -> "Pass":
        """Return a pass; one with nothing to come where an epoch goes on of which the data were read to the end."""
        ended, self._epoch_was_read = self._epoch_was_read, False
        return Pass(self, ended)

    def open(self) -> tf.data.Iterator:
        """Return an iterator that stands at the place, or at the start of a new pass where one was left."""
        if not self._resumed and self.place.batches:
            self.close()
        self._resumed = False
        while self._opened < self.place.passes and self.resumable:
            iter(self.dataset)  # a shuffle draws the order of the next pass when an iterator is made
            self._opened += 1
        self._opened += 1
        return iter(self.dataset.skip(self.place.batches) if self.place.batches else self.dataset)

    def close(self) -> None:
        """Take notice that the data set was read to the end, or left."""
        self.place = Place(self.place.passes + 1, 0)

    def draw(self, batches: int) -> None:
        """Take notice of batches that were drawn."""
        self.steps += batches
        self.place = self.place._replace(batches=self.place.batches + batches)

    def get_tf_dataset(self):
        """Return what Keras iterates over, and does not divide."""
        return _Undivided(self)

    def get_numpy_iterator(self):
        raise NotImplementedError("tf_mtl works on Keras' TensorFlow backend.")

    get_jax_iterator = get_torch_dataloader = get_numpy_iterator

    @property
    def num_batches(self):
        """Batches of a pass; None where that is not known, or without end."""
        if self._adapter is not None:
            return self._adapter.num_batches
        size = int(self.dataset.cardinality())
        return size if size >= 0 else None

    @property
    def batch_size(self):
        """Rows of a batch where all have the same number."""
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
        ended: Whether there is nothing to come.
    """

    def __init__(self, stream: Stream, ended: bool = False):
        self.stream = stream
        self._iterator = None
        self._ended = ended

    def source(self) -> tf.data.Iterator:
        """Return the iterator of the batches."""
        if self._iterator is None:
            self._iterator = self.stream.open()
        return self._iterator

    @property
    def ahead(self) -> int | float | None:
        """How many batches are still to come, of data without end in the epoch; None where that is not known."""
        size = int(self.stream.dataset.cardinality())
        if self._ended:
            return 0
        if size == tf.data.INFINITE_CARDINALITY:
            epoch = self.stream.epoch
            return math.inf if epoch is None else epoch - self.stream.steps % epoch
        return None if size < 0 else size - self.stream.place.batches

    def draw(self, batches: int) -> None:
        """Take notice of batches that were drawn."""
        self.stream.draw(batches)
        if self.stream.place.batches == self.stream.num_batches:
            self.close()

    def close(self) -> None:
        """Take notice of the end."""
        if not self._ended:
            self._ended = True
            self.stream.close()

    def __next__(self) -> Any:
        batch = next(self.source())
        self.draw(1)
        return batch


class _Undivided(tf.distribute.DistributedDataset):
    """A data set that Keras takes for one that is divided among replicas already."""

    def __init__(self, stream):
        self._stream = stream

    def __iter__(self):
        return self._stream.begin()


def _unseeded(dataset):
    """Whether a data set, or one that it reads from, is a shuffle whose two seeds are 0, which stands for none."""
    seeds = [getattr(dataset, name, None) for name in ("_seed", "_seed2")]
    if all(seed is not None and int(seed) == 0 for seed in seeds):
        return True
    return any(_unseeded(source) for source in dataset._inputs())
