"""What a position in a stream refers to, compared between the process that saved it and the one that resumes."""

from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from tf_mtl._pipeline.array_stream import ArrayStream
from tf_mtl._pipeline.stream import Position, Stream

_SIZES = {str(tf.data.INFINITE_CARDINALITY): "endlessly many", str(tf.data.UNKNOWN_CARDINALITY): "unknown many"}


def describe(stream: Stream) -> dict[str, Any]:
    """Return what decides which rows a position refers to, as JSON values."""
    rows, dataset = isinstance(stream, ArrayStream), stream.global_dataset
    return {
        "elements": "rows" if rows else "batches",
        "size": stream.size,
        "batch_elements": stream.batch_elements,
        "spec": str(dataset.element_spec),
        "batch_sizes": [] if rows else [int(each._batch_size) for each in _sources(dataset, "_batch_size")],
        "sources": [] if rows else _source_sizes(dataset),
        "orders": _orders(dataset),
    }


def changes(saved: Mapping[str, Any], position: Position, epoch_batches: int, stream: Stream) -> list[str]:
    """Return why training cannot continue exactly at a position that another process saved; [] if it can.

    Args:
        saved: The other process's `describe`.
        position: The position.
        epoch_batches: The number of batches that it has drawn in the epoch.
        stream: The stream that is to continue there.
    """
    found, current = [], describe(stream)
    if position.elements:
        for key, text in (
            ("elements", "`x` gives {}, in the checkpoint {}"),
            ("size", "`x` has {} elements, in the checkpoint {}"),
            ("batch_sizes", "`x` has batches of {} rows, in the checkpoint {}"),
            ("sources", "`x` reads sources of {} elements, in the checkpoint {}"),
            ("spec", "`x` gives elements of {}, in the checkpoint {}"),
        ):
            if current[key] != saved.get(key, current[key]):
                found.append(text.format(*(_SIZES.get(str(each[key]), each[key]) for each in (current, saved))))
    if stream.epoch_size is not None and epoch_batches > stream.epoch_size:
        found.append(f"an epoch has {stream.epoch_size} steps, in the checkpoint already {epoch_batches}")
    return found


def shuffled_otherwise(saved: Mapping[str, Any], position: Position, stream: Stream) -> bool:
    """Return whether the pass of a saved position continues in another order of rows."""
    return position.elements > 0 and saved["orders"] != _orders(stream.global_dataset)


def shuffles_without_seed(stream: Stream) -> bool:
    """Return whether a shuffle has another order in every process."""
    return any(seeds == [0, 0] for _, *seeds in _orders(stream.global_dataset))


def _orders(dataset):
    """The buffer size and the two seeds of each shuffle; both seeds are 0 without a seed."""
    names = ("_buffer_size", "_seed", "_seed2")
    return [[int(getattr(each, name, 0)) for name in names] for each in _sources(dataset, "_seed2")]


def _source_sizes(dataset):
    """The number of elements of each data set that reads from no other; negative if it is endless or unknown."""
    inputs = dataset._inputs()
    return [size for each in inputs for size in _source_sizes(each)] if inputs else [int(dataset.cardinality())]


def _sources(dataset: tf.data.Dataset, attribute: str) -> Iterator[tf.data.Dataset]:
    """Those of a data set and the ones that it reads from that have an attribute."""
    if hasattr(dataset, attribute):
        yield dataset
    for source in dataset._inputs():
        yield from _sources(source, attribute)
