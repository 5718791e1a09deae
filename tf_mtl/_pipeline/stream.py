"""The batches of a data set, with a position that training in another process can resume from."""

import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import tensorflow as tf
from keras.src.trainers.data_adapters.data_adapter import DataAdapter

from tf_mtl._pipeline.checks import BatchCheck, CheckedDataset
from tf_mtl._pipeline.prefetching import gpus, on_device
from tf_mtl._pipeline.ranks import Ranks, ranks_of


class Position(NamedTuple):
    """How far a stream has been read.

    Attributes:
        passes: The number of completed passes through its data.
        elements: The number of elements drawn since: rows of arrays, or batches of other data.
    """

    passes: int
    elements: int


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

    @functools.cached_property
    def ranks(self) -> Ranks:
        """The ranks of the tensors of a batch."""
        return ranks_of(self.dataset.element_spec)

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
