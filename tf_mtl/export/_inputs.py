"""What an export takes: the model's inputs by name, and the way to them from raw ones."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.text import LocatedTexts, TextPreprocessor


@dataclass(frozen=True)
class Raw:
    """The way from raw inputs to those of the model.

    Attributes:
        specs: What it takes: named `tf.TensorSpec`s in the structure that `prepare` takes.
        prepare: From raw inputs to the model's, each in the shape and type that the model takes, a traced function.
        locate: Locates the words of texts; None where the preprocessor is not one of texts.
    """

    specs: Any
    prepare: tf.types.experimental.PolymorphicFunction
    locate: Callable[[tf.Tensor], LocatedTexts] | None

    @classmethod
    def of(cls, preprocessor: Callable[[Any], Any], specs: Any) -> "Raw":
        """Return the way that a preprocessor goes to inputs of these specs.

        Raises:
            ValueError: if the preprocessor's inputs cannot be told, its outputs are not the model's inputs, or their
                length would depend on the longest row of a batch.
        """
        raw = _raw_specs(preprocessor)

        def prepare(inputs):
            found = _listed(preprocessor(inputs), specs)
            flat = keras.tree.flatten(specs)
            return keras.tree.pack_sequence_as(specs, [_fit(*pair) for pair in zip(found, flat, strict=True)])

        traced = tf.function(prepare, input_signature=[raw])
        for name, value in zip(
            _names(specs), keras.tree.flatten(traced.get_concrete_function().structured_outputs), strict=True
        ):
            if None in value.shape[1:].as_list():
                raise ValueError(
                    f"The preprocessor gives '{name}' the shape {value.shape}, as long as the batch's longest row. "
                    "Give the model an Input of a fixed length, to which rows are cut and padded."
                )
        return cls(raw, traced, preprocessor.locate if isinstance(preprocessor, TextPreprocessor) else None)

    def located(self, inputs: Any) -> LocatedTexts | None:
        """Return raw texts and where their words are; None for other raw inputs."""
        return None if self.locate is None else self.locate(inputs)


def model_specs(model: keras.Model) -> Any:
    """Return the specs of a functional model's inputs, in their structure.

    They bear the names of the Input layers. One that was given no name is called as its key in a dict of inputs, or
    `inputs` where it is the only one.

    Raises:
        ValueError: for an input without a name in a list, a name that is no identifier, or a fixed number of rows.
    """
    return _specs(model.input)


def pack(specs: Any, values: Mapping[str, Any]) -> Any:
    """Return values by name in the structure of specs."""
    return keras.tree.map_structure(lambda spec: tf.constant(values[spec.name], spec.dtype), specs)


def _specs(inputs):
    if isinstance(inputs, Mapping):
        return {key: _spec(x, key) for key, x in inputs.items()}
    if isinstance(inputs, keras.KerasTensor):
        return _spec(inputs, "inputs")
    return keras.tree.map_structure(lambda x: _spec(x, ""), inputs)


def _spec(x, otherwise):
    name = otherwise if re.fullmatch(r"keras_tensor(_\d+)?", x.name) else x.name
    if not name.isidentifier():
        raise ValueError(
            f"Requests name the model's inputs, so each needs a name that is an identifier, not '{name}': "
            'keras.Input(..., name="x").'
        )
    if x.shape[0] is not None:
        raise ValueError(f"Input '{name}' must take any number of rows, but has the shape {x.shape}.")
    return tf.TensorSpec(x.shape, x.dtype, name=name)


def _listed(found, specs):
    """What a preprocessor gives, in the order of the model's inputs: by name from a dict, otherwise by place."""
    if not isinstance(found, Mapping):
        values = keras.tree.flatten(found)
        if len(values) != len(keras.tree.flatten(specs)):
            raise ValueError(f"`preprocessor` gives {len(values)} tensors, but the model takes {_names(specs)}.")
        return values
    names = sorted(specs) if isinstance(specs, Mapping) else _names(specs)  # as dicts are flattened
    if set(names) != set(found):
        differing = {"missing": sorted(set(names) - set(found)), "unknown": sorted(set(found) - set(names))}
        raise ValueError(f"`preprocessor` must give the model's inputs by name; {differing}.")
    return [found[name] for name in names]


def _names(specs):
    return [spec.name for spec in keras.tree.flatten(specs)]


def _raw_specs(preprocessor):
    if isinstance(preprocessor, keras.utils.FeatureSpace):  # takes columns [B] as well as [B, 1]
        return {name: tf.TensorSpec([None], x.dtype, name=name) for name, x in preprocessor.get_inputs().items()}
    if isinstance(preprocessor, keras.Model):
        try:
            sequential = isinstance(preprocessor, keras.Sequential)  # has inputs, but no input
            return _specs(preprocessor.inputs[0] if sequential else preprocessor.input)
        except AttributeError as error:
            raise ValueError(
                "A keras.Model as `preprocessor` must be functional: its Input layers say what it takes."
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
    """Cut or pad with zeros to the model's length; what the preprocessor gives may be ragged, or of any length."""
    if isinstance(value, tf.RaggedTensor):
        return tf.cast(value.to_tensor(shape=spec.shape), spec.dtype)
    value = tf.cast(value, spec.dtype)
    fits = value.shape.rank == spec.shape.rank
    if not spec.dtype.is_integer:  # tokens are cut and padded, features and pixels must be those of the model
        fits = fits and value.shape[1:].is_compatible_with(spec.shape[1:])
    if not fits:
        raise ValueError(
            f"`preprocessor` gives the shape {value.shape} for the input '{spec.name}', which the model takes as "
            f"{spec.shape}."
        )
    for axis, size in enumerate(spec.shape[1:], 1):
        if size is not None and size != value.shape[axis]:
            value = value[(slice(None),) * axis + (slice(size),)]
            behind = [[0, size - tf.shape(value)[i] if i == axis else 0] for i in range(spec.shape.rank)]
            value = tf.ensure_shape(tf.pad(value, behind), [*value.shape[:axis], size, *value.shape[axis + 1 :]])
    return value
