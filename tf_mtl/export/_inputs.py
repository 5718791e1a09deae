"""What an export takes: the model's inputs by name, and the way to them from raw ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf


@dataclass(frozen=True)
class Raw:
    """The way from raw inputs to those of the model.

    Attributes:
        specs: What it takes: named `tf.TensorSpec`s in the structure that `prepare` takes.
        prepare: From raw inputs to the model's, each in the shape and type that the model takes.
        layers: Layers that hold lookup tables.
    """

    specs: Any
    prepare: Callable[[Any], Any]
    layers: list[keras.layers.Layer]

    @classmethod
    def of(cls, preprocessor: Callable[[Any], Any], specs: Any) -> "Raw":
        """Return the way that a preprocessor goes to inputs of these specs."""
        if isinstance(preprocessor, keras.layers.TextVectorization):
            preprocessor(tf.constant([""]))  # only a layer that has been called can be tracked
        if isinstance(preprocessor, keras.layers.Layer):
            layers = [layer for layer in preprocessor._flatten_layers() if layer.built and not layer.weights]
        else:
            layers = []
        raw = _raw_specs(preprocessor)

        def prepare(inputs):
            found = _listed(preprocessor(inputs), specs)
            flat = keras.tree.flatten(specs)
            return keras.tree.pack_sequence_as(specs, [_fit(*pair) for pair in zip(found, flat, strict=True)])

        return cls(raw, prepare, layers)


def model_specs(model: keras.Model) -> Any:
    """Return the specs of a functional model's inputs, in their structure."""
    return keras.tree.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype, name=x.name), model.input)


def pack(specs: Any, values: Mapping[str, Any]) -> Any:
    """Return values by name in the structure of specs."""
    return keras.tree.map_structure(lambda spec: tf.constant(values[spec.name], spec.dtype), specs)


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
        return model_specs(preprocessor)
    if getattr(preprocessor, "input_signature", None) is not None:
        (specs,) = preprocessor.input_signature
        return specs
    return tf.TensorSpec([None], tf.string, name="text")


def _fit(value, spec):
    """Cut or pad with zeros to the model's length; what the preprocessor gives may be ragged, or of any length."""
    if isinstance(value, tf.RaggedTensor):
        return tf.cast(value.to_tensor(shape=spec.shape), spec.dtype)
    value = tf.cast(value, spec.dtype)
    if value.shape.rank != spec.shape.rank:
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
