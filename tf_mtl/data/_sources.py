"""The sources of a mixture: what they must have in common, and what is filled in."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf


class Labels(NamedTuple):
    """What the label and the label weight of a task look like, whichever source they come from.

    Attributes:
        spec: Dtype and shape of the label, of unknown size where sources differ.
        weight: Shape of the label weight.
    """

    spec: tf.TensorSpec
    weight: tf.TensorShape


def check_sources(sources: Mapping[str, tf.data.Dataset]) -> dict[str, Labels]:
    """Return what the tasks of all sources look like, having checked that inputs, labels and weights agree.

    Raises:
        TypeError: for names that are no strings, or sources whose elements are no rows.
        ValueError: for sources that are empty, batched or differ; the message names source and field.
    """
    if not sources:
        raise ValueError("`sources` must hold at least one data set {name: data set}, received none.")
    specs, weights, owner, first = {}, {}, {}, next(iter(sources))
    for name, source in sources.items():
        _check_rows(name, source)
        x, y, weight = keras.utils.unpack_x_y_sample_weight(source.element_spec)
        _check_same(name, first, x, sources[first].element_spec[0])
        for task, spec in y.items():
            if task in specs and not _agree(spec, specs[task]):
                raise ValueError(
                    f"Sources '{owner[task]}' and '{name}' differ in the labels of task '{task}': {specs[task]} "
                    f"and {spec}. Cast or reshape one of them."
                )
            specs[task] = tf.TensorSpec(_common(spec.shape, specs.get(task, spec).shape), spec.dtype)
            owner.setdefault(task, name)
        for task, spec in (weight or {}).items():
            if task not in y:
                raise ValueError(f"Source '{name}' has label weights for '{task}', but no labels. Leave them out.")
            holder, shape = weights.get(task, (name, spec.shape))
            if not spec.shape.is_compatible_with(shape):
                raise ValueError(
                    f"Sources '{holder}' and '{name}' differ in the label weights of task '{task}': shape {shape} "
                    f"and {spec.shape}. Give one weight a row in both, or one for each label in both."
                )
            weights[task] = name, _common(spec.shape, shape)
    return {task: Labels(spec, weights.get(task, (None, tf.TensorShape([])))[1]) for task, spec in specs.items()}


def weigh(source: tf.data.Dataset, tasks: Mapping[str, Labels]) -> tf.data.Dataset:
    """Give rows what no constant can give them: weights of 1 for labels of unknown length, and float32 weights."""
    _, given, weighted = keras.utils.unpack_x_y_sample_weight(source.element_spec)
    weighted = weighted or {}
    lacking = [task for task in given if task not in weighted and not tasks[task].weight.is_fully_defined()]
    if not lacking and all(spec.dtype == tf.float32 for spec in weighted.values()):
        return source

    def fill(*row):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(row)
        ones = {task: tf.ones(tf.shape(y[task])[: tasks[task].weight.rank]) for task in lacking}
        return x, y, {**{task: tf.cast(given, tf.float32) for task, given in (weight or {}).items()}, **ones}

    return source.map(fill, num_parallel_calls=tf.data.AUTOTUNE)


def complete(source: tf.data.Dataset, tasks: Mapping[str, Labels], batch_size: int | None = None) -> tf.data.Dataset:
    """Give weighed rows, or batches of `batch_size` of them, labels and weights for all tasks; 0 for what they lack."""
    _, given, weighted = keras.utils.unpack_x_y_sample_weight(source.element_spec)
    lead = [] if batch_size is None else [batch_size]
    labels = {task: _constant(0, lead, labels.spec.shape, labels.spec.dtype) for task, labels in tasks.items()}
    labels = {task: zeros for task, zeros in labels.items() if task not in given}
    weights = {
        task: _constant(task in given, lead, tasks[task].weight) for task in tasks if task not in (weighted or {})
    }
    if not labels and not weights:
        return source

    # The constants come in by a data set: a function that only passes its arguments on costs next to nothing.
    def fill(row, constants):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(row)
        y, weight = {**constants[0], **y}, {**constants[1], **(weight or {})}
        return x, {task: y[task] for task in tasks}, {task: weight[task] for task in tasks}

    constants = tf.data.Dataset.from_tensors((labels, weights)).repeat()
    return tf.data.Dataset.zip(source, constants).map(fill)


def _constant(value, lead, shape, dtype=tf.float32):
    shape = [*lead, *(size or 0 for size in shape)]
    return tf.zeros(shape, dtype) if not value else tf.ones(shape, dtype)


def size(name: str, source: tf.data.Dataset) -> int:
    """Return how many rows a source has.

    Raises:
        ValueError: if that is not known.
    """
    rows = int(source.cardinality())
    if rows <= 0:
        kind = "endless" if rows == tf.data.INFINITE_CARDINALITY else "of unknown size"
        raise ValueError(
            f"Source '{name}' is {kind}, but its rate or the length of an epoch depends on its number of rows. Use "
            "rates='uniform' or {source: rate} and epoch=<number of steps>, or apply "
            "tf.data.experimental.assert_cardinality(rows)."
        )
    return rows


def _check_rows(name: Any, source: tf.data.Dataset) -> None:
    if not isinstance(name, str) or not name:
        raise TypeError(f"`sources` must be keyed by names, which stand in the logs; received the key {name!r}.")
    if not isinstance(source, tf.data.Dataset):
        raise TypeError(f"Source '{name}' must be a tf.data.Dataset of rows, received {type(source).__name__}.")
    element = source.element_spec
    parts = element if isinstance(element, tuple) else ()
    if len(parts) not in (2, 3) or not all(isinstance(part, Mapping) for part in parts[1:]):
        raise TypeError(
            f"Source '{name}' must give rows (x, {{task: y}}) or (x, {{task: y}}, {{task: weight}}), "
            f"received {element}."
        )
    for part in keras.tree.flatten(element):
        if not isinstance(part, tf.TensorSpec) or part.shape.rank is None:
            raise TypeError(
                f"Source '{name}' must give dense tensors of known rank, received {part}. Use `to_tensor`, or "
                "tf.ensure_shape in a `map`."
            )
    rows = int(source.cardinality())
    if rows == 0 or (rows == tf.data.UNKNOWN_CARDINALITY and not any(True for _ in source.take(1))):
        raise ValueError(f"Source '{name}' is empty: it must give at least one row.")
    if _batched(source):
        raise ValueError(
            f"Source '{name}' gives batches: it must give rows. Leave out its `batch`, or apply `unbatch`."
        )


def _batched(source):
    """Whether a data set ends in `batch`, as far as order and number of its elements go."""
    kind = type(source).__name__
    if "Batch" in kind and "Unbatch" not in kind:
        return True
    passing = ("Prefetch", "Repeat", "Cache", "Shuffle", "Take", "Skip", "Options")
    return any(word in kind for word in passing) and any(map(_batched, source._inputs()))


def _fields(x):
    return {"/".join(map(str, path)) or "x": spec for path, spec in keras.tree.flatten_with_path(x)}


def _check_same(name, first, x, expected_x):
    fields, expected = _fields(x), _fields(expected_x)
    for field in sorted({*fields, *expected}):
        if field not in fields or field not in expected:
            holder, other = (first, name) if field not in fields else (name, first)
            raise ValueError(
                f"The inputs of source '{holder}' have the field '{field}', which those of '{other}' lack. "
                "Give all sources the same inputs."
            )
        if not _agree(fields[field], expected[field]):
            raise ValueError(
                f"Sources '{first}' and '{name}' differ in the input field '{field}': {expected[field]} and "
                f"{fields[field]}. Cast, pad or reshape one of them."
            )
    try:
        tf.nest.assert_same_structure(x, expected_x)
    except (TypeError, ValueError):
        raise ValueError(
            f"The inputs of sources '{first}' and '{name}' differ in structure: {expected_x} and {x}. Give all sources "
            "dicts of the same names, or single tensors."
        ) from None


def _agree(one, other):
    return one.dtype == other.dtype and one.shape.is_compatible_with(other.shape)


def _common(one, other):
    return one.most_specific_compatible_shape(other)
