"""The sources of a mixture: what they must have in common, and what is added to them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf


class LabelSpec(NamedTuple):
    """The label and the label weight of a task, in whichever source.

    Attributes:
        label: Dtype and shape of the label; sizes in which sources differ are unknown.
        weight_shape: Shape of the label weight.
    """

    label: tf.TensorSpec
    weight_shape: tf.TensorShape


def common_label_specs(sources: Mapping[str, tf.data.Dataset]) -> dict[str, LabelSpec]:
    """Return the label specs of the tasks of all sources, after checking that inputs, labels and weights agree.

    Raises:
        TypeError: for names that are not strings, or sources whose elements are not rows.
        ValueError: for sources that are empty, batched or differ; the message names the source and the field.
    """
    if not sources:
        raise ValueError("`sources` must hold at least one data set, as {name: data set}; received none.")
    first = next(iter(sources))
    labels: dict[str, tf.TensorSpec] = {}
    weight_shapes: dict[str, tf.TensorShape] = {}
    source_of_label: dict[str, str] = {}
    source_of_weight: dict[str, str] = {}
    for name, source in sources.items():
        _check_rows(name, source)
        x, y, weight = keras.utils.unpack_x_y_sample_weight(source.element_spec)
        _check_same_inputs(name, x, first, sources[first].element_spec[0])
        for task, spec in y.items():
            if task in labels and not _is_compatible(spec, labels[task]):
                raise ValueError(
                    f"Sources '{source_of_label[task]}' and '{name}' differ in the labels of task '{task}': "
                    f"{labels[task]} and {spec}. Cast or reshape one of them."
                )
            labels[task] = tf.TensorSpec(_common_shape(spec.shape, labels.get(task, spec).shape), spec.dtype)
            source_of_label.setdefault(task, name)
        for task, spec in (weight or {}).items():
            if task not in y:
                raise ValueError(
                    f"Source '{name}' has label weights for '{task}', but no labels. Remove the weights, or add the "
                    "labels."
                )
            shape = weight_shapes.get(task, spec.shape)
            if not spec.shape.is_compatible_with(shape):
                raise ValueError(
                    f"Sources '{source_of_weight[task]}' and '{name}' differ in the label weights of task '{task}': "
                    f"shapes {shape} and {spec.shape}. Use one weight per row in both, or one per label in both."
                )
            weight_shapes[task] = _common_shape(spec.shape, shape)
            source_of_weight.setdefault(task, name)
    return {task: LabelSpec(label, weight_shapes.get(task, tf.TensorShape([]))) for task, label in labels.items()}


def standardize_weights(source: tf.data.Dataset, specs: Mapping[str, LabelSpec]) -> tf.data.Dataset:
    """Return a source whose weights are float32, with weights of 1 added for labels of unknown length.

    `fill_missing_tasks` cannot add these, because it adds constants.
    """
    _, y_spec, weight_spec = keras.utils.unpack_x_y_sample_weight(source.element_spec)
    weight_spec = weight_spec or {}
    unweighted = [
        task for task in y_spec if task not in weight_spec and not specs[task].weight_shape.is_fully_defined()
    ]
    if not unweighted and all(spec.dtype == tf.float32 for spec in weight_spec.values()):
        return source

    def standardize(*row):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(row)
        ones = {task: tf.ones(tf.shape(y[task])[: specs[task].weight_shape.rank]) for task in unweighted}
        return x, y, {**{task: tf.cast(value, tf.float32) for task, value in (weight or {}).items()}, **ones}

    return source.map(standardize, num_parallel_calls=tf.data.AUTOTUNE)


def fill_missing_tasks(
    source: tf.data.Dataset, specs: Mapping[str, LabelSpec], batch_size: int | None = None
) -> tf.data.Dataset:
    """Return rows, or batches of `batch_size` rows, with labels and weights for all tasks.

    Missing labels are zeros of weight 0; labels without a weight get weight 1.

    Args:
        source: A source with standardized weights.
        specs: The label specs of all tasks.
        batch_size: The number of rows of a batch; None for rows.
    """
    _, y_spec, weight_spec = keras.utils.unpack_x_y_sample_weight(source.element_spec)
    batch_axis = [] if batch_size is None else [batch_size]
    labels = {
        task: tf.zeros([*batch_axis, *_empty_shape(spec.label.shape)], spec.label.dtype)
        for task, spec in specs.items()
        if task not in y_spec
    }
    weights = {
        task: (tf.ones if task in y_spec else tf.zeros)([*batch_axis, *_empty_shape(spec.weight_shape)])
        for task, spec in specs.items()
        if task not in (weight_spec or {})
    }
    if not labels and not weights:
        return source

    # The constants come from a data set: a function that only passes on its arguments costs next to nothing.
    def fill(row, constants):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(row)
        y, weight = {**constants[0], **y}, {**constants[1], **(weight or {})}
        return x, {task: y[task] for task in specs}, {task: weight[task] for task in specs}

    constants = tf.data.Dataset.from_tensors((labels, weights)).repeat()
    return tf.data.Dataset.zip(source, constants).map(fill)


def _empty_shape(shape: tf.TensorShape) -> list[int]:
    """Return a shape whose unknown sizes are 0."""
    return [size or 0 for size in shape]


def row_count(name: str, source: tf.data.Dataset) -> int:
    """Return the number of rows of a source.

    Raises:
        ValueError: if it is unknown.
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


def _check_rows(name: Any, source: Any) -> None:
    if not isinstance(name, str) or not name:
        raise TypeError(f"`sources` must be keyed by non-empty strings, which appear in the logs; received {name!r}.")
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
        raise ValueError(f"Source '{name}' is empty: it must have at least one row.")
    if _is_batched(source):
        raise ValueError(f"Source '{name}' gives batches: it must give rows. Remove its `batch`, or apply `unbatch`.")


def _is_batched(dataset: tf.data.Dataset) -> bool:
    """Return whether a data set ends with `batch`, apart from transformations that keep its elements."""
    kind = type(dataset).__name__
    if "Batch" in kind and "Unbatch" not in kind:
        return True
    keeps_elements = any(word in kind for word in ("Prefetch", "Repeat", "Cache", "Shuffle", "Take", "Skip", "Options"))
    return keeps_elements and any(map(_is_batched, dataset._inputs()))


def _check_same_inputs(name: str, x: Any, first: str, first_x: Any) -> None:
    """Raise unless the inputs of a source are those of the first source."""
    fields, first_fields = _input_fields(x), _input_fields(first_x)
    for field in sorted({*fields, *first_fields}):
        if field not in fields or field not in first_fields:
            with_field, without = (first, name) if field not in fields else (name, first)
            raise ValueError(
                f"The inputs of source '{with_field}' have the field '{field}', which those of '{without}' lack. "
                "Give all sources the same inputs."
            )
        if not _is_compatible(fields[field], first_fields[field]):
            raise ValueError(
                f"Sources '{first}' and '{name}' differ in the input field '{field}': {first_fields[field]} and "
                f"{fields[field]}. Cast, pad or reshape one of them."
            )
    try:
        tf.nest.assert_same_structure(x, first_x)
    except (TypeError, ValueError):
        raise ValueError(
            f"The inputs of sources '{first}' and '{name}' differ in structure: {first_x} and {x}. Give all sources "
            "dicts of the same names, or single tensors."
        ) from None


def _input_fields(x: Any) -> dict[str, tf.TensorSpec]:
    return {"/".join(map(str, path)) or "x": spec for path, spec in keras.tree.flatten_with_path(x)}


def _is_compatible(spec: tf.TensorSpec, other: tf.TensorSpec) -> bool:
    return spec.dtype == other.dtype and spec.shape.is_compatible_with(other.shape)


def _common_shape(shape: tf.TensorShape, other: tf.TensorShape) -> tf.TensorShape:
    return shape.most_specific_compatible_shape(other)
