"""The inputs of a model by name, and raw inputs with the way to them."""

import functools
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._located import Located, locate
from tf_mtl._optional_inputs import is_optional


@dataclass(frozen=True)
class RawInputs:
    """Raw inputs, and how they become those of the model.

    Attributes:
        specs: Named `tf.TensorSpec`s of the raw inputs, in the structure that `prepare` takes.
        prepare: A traced function from raw inputs to the model's, each in the shape and type that the model takes.
        locate: Locates the words of texts, or images; None if the preprocessor has no `locate`.
    """

    specs: Any
    prepare: tf.types.experimental.PolymorphicFunction
    locate: Callable[[Any], Located] | None

    @classmethod
    def of(cls, preprocessor: Callable[[Any], Any], specs: Any) -> "RawInputs":
        """Return the raw inputs of a preprocessor.

        Args:
            preprocessor: The preprocessor.
            specs: The specs of the model's inputs.

        Raises:
            ValueError: if the preprocessor's inputs cannot be determined, or its outputs are not the model's inputs.
        """
        raw = _raw_specs(preprocessor)

        def prepare(inputs):
            pairs = zip(_in_order(preprocessor(inputs), specs), keras.tree.flatten(specs), strict=True)
            return keras.tree.pack_sequence_as(specs, [_fit(value, spec) for value, spec in pairs])

        traced = tf.function(prepare, input_signature=[raw])
        traced.get_concrete_function()
        return cls(raw, traced, functools.partial(locate, preprocessor) if hasattr(preprocessor, "locate") else None)

    def reduced_to(self, needed: Mapping[str, tf.TensorSpec]) -> "RawInputs":
        """Return the way from the raw inputs that some of the model's inputs depend on to these.

        Args:
            needed: The specs of these inputs of the model.
        """
        if not isinstance(self.specs, Mapping):
            specs = self.specs
        else:
            function = self.prepare.get_concrete_function()
            outputs = function.structured_outputs
            read = _placeholders([function.graph.get_tensor_by_name(outputs[key].name) for key in needed])
            specs = {key: spec for key, spec in self.specs.items() if spec.name in read}

        def prepare(inputs):
            if isinstance(specs, Mapping):
                rows = tf.shape(next(iter(inputs.values())))[:1]
                inputs = {key: inputs[key] if key in inputs else blank(spec, rows) for key, spec in self.specs.items()}
            prepared = self.prepare(inputs)
            return {key: prepared[key] for key in needed}

        traced = tf.function(prepare, input_signature=[specs])
        traced.get_concrete_function()
        return RawInputs(specs, traced, None)

    def check_lengths(self, specs: Any) -> None:
        """Raise if a row's inputs depend on the others of its batch.

        Args:
            specs: The specs of the model's inputs.

        Raises:
            ValueError: for an input that is as long as the longest row of a batch.
        """
        prepared = keras.tree.flatten(self.prepare.get_concrete_function().structured_outputs)
        for name, value in zip(_names(specs), prepared, strict=True):
            if None in value.shape[1:].as_list():
                raise ValueError(
                    f"`preprocessor` must give '{name}' a fixed length, received the shape {value.shape}, as long as "
                    "the batch's longest row. Give the model an Input of a fixed length, to which rows are truncated "
                    "or padded."
                )

    def prepared(self, inputs: Any, batch_size: int) -> Any:
        """Return the model's inputs: as batches, or as one where their length depends on the other rows."""
        specs = keras.tree.flatten(self.prepare.get_concrete_function().structured_outputs)
        if not all(spec.shape[1:].is_fully_defined() for spec in specs):
            return self.prepare(inputs)
        rows = tf.data.Dataset.from_tensor_slices(inputs)
        return rows.batch(batch_size).map(lambda batch: (self.prepare(batch),))

    def located(self, inputs: Any, tasks: Iterable[Any]) -> Located | None:
        """Return raw inputs with what the answers of tasks refer to; None where no task locates anything."""
        is_needed = any(task.locates_in is not None for task in tasks)
        return self.locate(inputs) if is_needed and self.locate is not None else None


def model_specs(model: keras.Model) -> Any:
    """Return the specs of a functional model's inputs, in their structure, without optional ones of a dict.

    They have the names of the Input layers. The name of an unnamed one is its key in a dict of inputs, or `inputs` if
    it is the only input.

    Raises:
        ValueError: for an unnamed input in a list, a name that is not an ASCII identifier, or a fixed number of rows.
    """
    return _specs(model.input)


def as_tensors(inputs: Any, specs: Any) -> Any:
    """Return inputs as tensors, in the structure of their specs.

    Raises:
        ValueError: if they do not fit.
    """
    if isinstance(specs, tf.TensorSpec) and not isinstance(inputs, (str, bytes, Mapping)):
        return _tensor(inputs, specs)
    if isinstance(specs, Mapping) and isinstance(inputs, Mapping) and specs.keys() == inputs.keys():
        tensors = {key: _tensor(inputs[key], spec) for key, spec in specs.items()}
        rows = {key: tensor.shape[0] for key, tensor in tensors.items()}
        if len(set(rows.values())) > 1:
            raise ValueError(f"`inputs` must have the same number of rows, received {rows}.")
        return tensors
    if isinstance(specs, (list, tuple)) and isinstance(inputs, (list, tuple)) and len(specs) == len(inputs):
        return [_tensor(*pair) for pair in zip(inputs, specs, strict=True)]
    expected = f"a dict with the keys {sorted(specs)}" if isinstance(specs, Mapping) else "a list or array of rows"
    received = sorted(inputs) if isinstance(inputs, Mapping) else type(inputs).__name__
    raise ValueError(
        f"`inputs` must be {expected}, as `preprocessor`, or the model without one, takes them; received {received}."
    )


def _tensor(values, spec):
    try:
        if not len(values):
            return tf.constant([], spec.dtype, [0, *(size or 1 for size in spec.shape[1:])])
        tensor = tf.cast(tf.convert_to_tensor(values), spec.dtype)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        kind = "texts or bytes" if spec.dtype == tf.string else f"numbers for {spec.dtype.name}"
        remedy = "Pass the `preprocessor` of texts or images." if spec.dtype != tf.string else "Pass texts alone."
        if any(isinstance(value, os.PathLike) for value in values):
            remedy = "Pass the content of the files: path.read_bytes()."
        raise ValueError(
            f"`inputs` must be {kind} in rows of one shape, received {str(values)[:80]}. {remedy}"
        ) from error
    if tensor.shape.rank == 1 and spec.shape[1:] == [1]:
        return tensor[:, None]  # as `fit` and `predict` take columns
    if not tensor.shape[1:].is_compatible_with(spec.shape[1:]):
        raise ValueError(f"`inputs` for '{spec.name}' must have the shape {spec.shape}, received {tensor.shape}.")
    return tensor


def pack(specs: Any, values: Mapping[str, Any]) -> Any:
    """Return values by name in the structure of specs."""
    return keras.tree.map_structure(lambda spec: tf.constant(values[spec.name], spec.dtype), specs)


def completed(specs: Any, values: Mapping[str, Any]) -> Any:
    """Return values by name in the structure of specs, with zeros or empty strings for inputs that are not needed."""
    rows = [len(next(iter(values.values())))]
    return keras.tree.map_structure(
        lambda spec: tf.constant(values[spec.name], spec.dtype) if spec.name in values else blank(spec, rows), specs
    )


def blank(spec: tf.TensorSpec, rows: Any) -> tf.Tensor:
    """Return zeros or empty strings for an input.

    Args:
        spec: The input's spec.
        rows: The number of rows, [1].
    """
    shape = tf.concat([rows, [size or 1 for size in spec.shape[1:]]], 0)
    return tf.fill(shape, "") if spec.dtype == tf.string else tf.zeros(shape, spec.dtype)


def _specs(inputs):
    if isinstance(inputs, Mapping):
        return {key: _spec(x, key) for key, x in inputs.items() if not is_optional(x)}
    if isinstance(inputs, keras.KerasTensor):
        return _spec(inputs, "inputs")
    return keras.tree.map_structure(lambda x: _spec(x, ""), inputs)


def _spec(x, default_name):
    name = default_name if re.fullmatch(r"keras_tensor(_\d+)?", x.name) else x.name
    if not name.isidentifier() or not name.isascii():
        raise ValueError(
            "Each input of the model needs a name that is an identifier of ASCII letters, digits and _, for requests; "
            f"received '{name}'. Name it: keras.Input(..., name=\"x\")."
        )
    if x.shape[0] is not None:
        raise ValueError(f"Input '{name}' must accept any number of rows, received the shape {x.shape}.")
    return tf.TensorSpec(x.shape, x.dtype, name=name)


def _placeholders(tensors):
    """The names of the placeholders that tensors of a graph are computed from."""
    stack, names, seen = [tensor.op for tensor in tensors], set(), set()
    while stack:
        operation = stack.pop()
        if operation.name not in seen:
            seen.add(operation.name)
            if operation.type == "Placeholder":
                names.add(operation.name)
            stack += [x.op for x in operation.inputs]
    return names


def _in_order(outputs, specs):
    """The outputs of a preprocessor in the order of the model's inputs: by name from a dict, otherwise by position."""
    if not isinstance(outputs, Mapping):
        values = keras.tree.flatten(outputs)
        if len(values) != len(keras.tree.flatten(specs)):
            raise ValueError(
                f"`preprocessor` must return one tensor for each of the model's inputs {_names(specs)}, received "
                f"{len(values)}."
            )
        return values
    names = sorted(specs) if isinstance(specs, Mapping) else _names(specs)  # as dicts are flattened
    if set(names) != set(outputs):
        differing = {"missing": sorted(set(names) - set(outputs)), "unknown": sorted(set(outputs) - set(names))}
        raise ValueError(f"`preprocessor` must return the model's inputs by name; {differing}.")
    return [outputs[name] for name in names]


def _names(specs):
    return [spec.name for spec in keras.tree.flatten(specs)]


def _raw_specs(preprocessor):
    if isinstance(preprocessor, keras.utils.FeatureSpace):  # accepts columns [B] and [B, 1]
        return {name: tf.TensorSpec([None], x.dtype, name=name) for name, x in preprocessor.get_inputs().items()}
    if isinstance(preprocessor, keras.Model):
        try:
            sequential = isinstance(preprocessor, keras.Sequential)  # has `inputs`, but no `input`
            return _specs(preprocessor.inputs[0] if sequential else preprocessor.input)
        except AttributeError as error:
            raise ValueError(
                "A keras.Model as `preprocessor` must be functional: its Input layers define the raw inputs."
            ) from error
    signature = getattr(preprocessor, "input_signature", None)
    if signature is None:
        return tf.TensorSpec([None], tf.string, name="text")
    if len(signature) != 1 or not all(getattr(spec, "name", None) for spec in keras.tree.flatten(signature)):
        raise ValueError(
            "A tf.function as `preprocessor` must take one argument, a tensor or a dict of them, with named specs: "
            f'tf.TensorSpec([None], tf.string, name="image"). Its signature is {signature}.'
        )
    return signature[0]


def _fit(value, spec):
    """Truncate to the model's length, or pad with zeros; the preprocessor's output may be ragged or of any length."""
    if isinstance(value, tf.RaggedTensor):
        return tf.cast(value.to_tensor(shape=spec.shape), spec.dtype)
    value = tf.cast(value, spec.dtype)
    fits = value.shape.rank == spec.shape.rank
    if not spec.dtype.is_integer:  # only tokens are truncated and padded, not numeric features and pixels
        fits = fits and value.shape[1:].is_compatible_with(spec.shape[1:])
    if not fits:
        raise ValueError(
            f"`preprocessor` must give the input '{spec.name}' the shape {spec.shape}, received the shape "
            f"{value.shape}."
        )
    for axis, size in enumerate(spec.shape[1:], 1):
        if size is not None and size != value.shape[axis]:
            value = value[(slice(None),) * axis + (slice(size),)]
            padding = [[0, size - tf.shape(value)[i] if i == axis else 0] for i in range(spec.shape.rank)]
            value = tf.ensure_shape(tf.pad(value, padding), [*value.shape[:axis], size, *value.shape[axis + 1 :]])
    return value
