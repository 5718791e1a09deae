"""What an export answers: its signatures, each from inputs by name to the decoded outputs of some tasks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._names import check_names
from tf_mtl.model import MultiTaskModel


@dataclass(frozen=True)
class Endpoint:
    """One signature.

    Attributes:
        name: Its name.
        tasks: The tasks that it answers.
        specs: What it takes: named `tf.TensorSpec`s in the structure that `answer` takes.
        answer: From the inputs to the decoded outputs, a traced `tf.function`.
        weights: The variables that it may use.
    """

    name: str
    tasks: tuple[str, ...]
    specs: Any
    answer: tf.types.experimental.PolymorphicFunction
    weights: list[tf.Variable]

    @property
    def inputs(self) -> dict[str, tf.TensorSpec]:
        """The specs by name."""
        return {spec.name: spec for spec in keras.tree.flatten(self.specs)}

    @property
    def outputs(self) -> dict[str, tf.TensorSpec]:
        """The specs of the decoded outputs by name."""
        return self.answer.get_concrete_function().structured_outputs


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


def endpoints(model: MultiTaskModel, raw: Raw | None, signatures: str | Mapping[str, Sequence[str]]) -> list[Endpoint]:
    """Return the signatures of an export.

    Raises:
        ValueError: for unknown tasks, a name that is taken or none, or decoded outputs that cannot be served.
    """
    groups = _groups(model, signatures)
    specs = model_specs(model)
    tensors = "serving_default" if raw is None else "tensors"
    found = []
    for name, tasks in {"": model.task_names, **groups}.items():
        plain = tensors if not name else name if raw is None else f"tensors_{name}"
        part = keras.Model(model.input, {task: model.output[task] for task in tasks})
        answer = _answer(model, part)
        weights = [weight.value for weight in part.weights]
        found.append(_endpoint(plain, tasks, specs, answer, weights))
        if raw is not None:
            found.append(_from_raw(name or "serving_default", tasks, raw, answer, weights))
    return found


def model_specs(model: keras.Model) -> Any:
    """Return the specs of a functional model's inputs, in their structure."""
    return keras.tree.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype, name=x.name), model.input)


def pack(specs: Any, values: Mapping[str, Any]) -> Any:
    """Return values by name in the structure of specs."""
    return keras.tree.map_structure(lambda spec: tf.constant(values[spec.name], spec.dtype), specs)


def numpy(tensors: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
    """Return tensors as arrays."""
    return {name: np.asarray(value) for name, value in tensors.items()}


def _groups(model, signatures):
    if signatures == "per_task":
        groups = {task: (task,) for task in model.task_names}
    elif isinstance(signatures, Mapping):
        groups = dict(signatures)
    else:
        raise ValueError(f'`signatures` must be "per_task" or a dict {{name: tasks}}, received {signatures!r}.')
    reserved = {"serving_default", "tensors", *(f"tensors_{name}" for name in groups)}
    for name, tasks in groups.items():
        if name in reserved:
            raise ValueError(f"'{name}' names another signature of the export; rename the task or the signature.")
        if isinstance(tasks, str) or not tasks:
            raise ValueError(f"`signatures['{name}']` must be a list of tasks, received {tasks!r}.")
        check_names(f"signatures['{name}']", tasks, model.task_names, required=False)
    return groups


def _answer(model, part):
    decoders = {task.name: task.decode for task in model.tasks}

    def answer(inputs):
        outputs = part(inputs, training=False)
        decoded = [
            (f"{task}_{key}", value)
            for task, output in outputs.items()
            for key, value in decoders[task](output).items()
        ]
        if len(dict(decoded)) < len(decoded):
            raise ValueError(
                f"Two decoded outputs bear one name: {sorted(name for name, _ in decoded)}. Rename a task."
            )
        return dict(decoded)

    return answer


def _from_raw(name, tasks, raw, answer, weights):
    own = tf.function(raw.prepare).get_concrete_function(raw.specs).variables
    return _endpoint(name, tasks, raw.specs, lambda inputs: answer(raw.prepare(inputs)), [*weights, *own])


def _endpoint(name, tasks, specs, answer, weights):
    traced = tf.function(answer, input_signature=[specs], autograph=False)
    found = Endpoint(name, tuple(tasks), specs, traced, weights)
    _check_outputs(name, found.outputs)
    return found


def _check_outputs(signature, outputs):
    """Refuse what TensorFlow Serving's REST interface would change or mix up."""
    for name, value in outputs.items():
        if value.shape.rank == 0 or value.shape[:1].as_list() != [None]:
            raise ValueError(
                f"Decoded output '{name}' has the shape {value.shape}, but its first axis must be the batch, as "
                "answers are split by rows. Mend the task's `decode`."
            )
        if name.endswith("_bytes"):
            raise ValueError(f"Decoded output '{name}' would arrive base64-encoded, as its name ends in '_bytes'.")
    if len(outputs) < 2:
        raise ValueError(
            f"Signature '{signature}' has only the output {sorted(outputs)}, whose name REST would drop. Let the "
            "task's `decode` return two tensors at least."
        )


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
