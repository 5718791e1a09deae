"""The signatures of an export, each from inputs by name to the decoded outputs of some tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._model import MultiTaskModel
from tf_mtl._names import check_names
from tf_mtl._optional_inputs import OptionalInputs, inputs_of
from tf_mtl._raw_inputs import RawInputs, model_specs
from tf_mtl.export._answers import answers

DEFAULT = "serving_default"
_TENSORS = "tensors"


@dataclass(frozen=True)
class Endpoint:
    """One signature.

    Attributes:
        name: Its name.
        raw: Whether it takes raw inputs.
        tasks: The tasks whose decoded outputs it returns.
        specs: Named `tf.TensorSpec`s of its inputs, in the structure that `answer` takes.
        answer: A traced `tf.function` from the inputs to the decoded outputs.
        weights: The variables that it may use.
    """

    name: str
    raw: bool
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


def endpoints(
    model: MultiTaskModel, raw: RawInputs | None, signatures: str | Mapping[str, Sequence[str]]
) -> list[Endpoint]:
    """Return the signatures of an export.

    Args:
        model: The model.
        raw: How raw inputs become those of the model; None without a preprocessor.
        signatures: See `tf_mtl.export.saved_model`.

    Raises:
        ValueError: for unknown tasks, a name that is reserved or not an identifier, or decoded outputs that cannot be
            served.
    """
    specs = model_specs(model)
    served = []
    for name, tasks in {DEFAULT: model.task_names, **_groups(model, signatures)}.items():
        part = OptionalInputs(model.input, {task: model.output[task] for task in tasks})
        answer = _answer([task for task in model.tasks if task.name in tasks], _traced_once(part, specs))
        served += _with_raw(name, tasks, raw, specs, answer, [weight.value for weight in part.weights])
    if signatures == "per_task":
        for task in model.tasks:
            for name, layer in task.served_alone.items():
                served += _part(f"{task.name}_{name}", task, model.get_layer(layer).output, model, raw, specs)
    return served


def _with_raw(name, tasks, raw, specs, answer, weights):
    """The signature from the model's inputs and, where there is a preprocessor, that from raw inputs."""
    if raw is None:
        return [_endpoint(name, False, tasks, specs, answer, weights)]
    from_tensors = _endpoint(_from_tensors(name), False, tasks, specs, answer, weights)
    return [from_tensors, _from_raw(name, tasks, raw, answer, weights)]


def _part(name, task, output, model, raw, specs):
    """The signatures of a part of a task's answer, which need only the inputs that it depends on."""
    inputs = model.input
    if isinstance(inputs, Mapping):
        names = inputs_of(output, inputs)
        inputs, specs = {key: inputs[key] for key in names}, {key: specs[key] for key in names if key in specs}
        raw = None if raw is None else raw.reduced_to(specs)
    part = OptionalInputs(inputs, output)
    run = _traced_once(part, specs)

    def answer(inputs, located=_nothing):
        return {name: tf.identity(run(inputs))}

    return _with_raw(name, [task.name], raw, specs, answer, [weight.value for weight in part.weights])


def _from_tensors(name):
    """The name of the signature that takes the model's inputs, beside one from raw inputs."""
    return _TENSORS if name == DEFAULT else f"{_TENSORS}_{name}"


def _groups(model, signatures):
    if signatures == "per_task":
        groups = {task: (task,) for task in model.task_names}
    elif isinstance(signatures, Mapping):
        groups = dict(signatures)
    else:
        raise ValueError(f'`signatures` must be "per_task" or a dict {{name: tasks}}, received {signatures!r}.')
    reserved = {DEFAULT, _TENSORS, *(_from_tensors(name) for name in groups)}
    for name, tasks in groups.items():
        if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
            raise ValueError(
                "The name of a signature must be an identifier of ASCII letters, digits and _, received "
                f"{name!r}. Rename it: signatures={{name: tasks}}."
            )
        if name in reserved:
            raise ValueError(f"'{name}' names another signature of the export. Rename the task or the signature.")
        if isinstance(tasks, str) or not tasks:
            raise ValueError(f"`signatures['{name}']` must be a list of tasks, received {tasks!r}.")
        check_names(f"signatures['{name}']", tasks, model.task_names, required=False)
    return groups


def _traced_once(part, specs):
    """A part of the model as a function that both of its signatures, from raw inputs and from tensors, call."""
    traced = tf.function(lambda inputs: part(inputs, training=False), input_signature=[specs], autograph=False)
    return lambda inputs: traced(_ensure_shapes(inputs, specs))


def _ensure_shapes(inputs, specs):
    return keras.tree.map_structure(lambda x, spec: tf.ensure_shape(x, spec.shape), inputs, specs)


def _answer(tasks, run):
    def answer(inputs, located=_nothing):
        return answers(tasks, run(inputs), located(tasks))

    return answer


def _nothing(tasks):
    """What signatures from tensors locate."""
    return


def _from_raw(name, tasks, raw, answer, weights):
    variables = raw.prepare.get_concrete_function().variables

    def from_raw(inputs):
        return answer(raw.prepare(inputs), lambda tasks: raw.located(inputs, tasks))

    return _endpoint(name, True, tasks, raw.specs, from_raw, [*weights, *variables])


def _endpoint(name, raw, tasks, specs, answer, weights):
    def with_fixed_shapes(inputs):
        # sessions accept any shape, and an additional row would shift the outputs of requests in the same batch
        return answer(_ensure_shapes(inputs, specs))

    traced = tf.function(with_fixed_shapes, input_signature=[specs], autograph=False)
    endpoint = Endpoint(name, raw, tuple(tasks), specs, traced, weights)
    _check_outputs(endpoint)
    return endpoint


def _check_outputs(endpoint):
    """Refuse outputs that TensorFlow Serving's REST interface would change or assign to other rows."""
    outputs = endpoint.outputs
    for name, value in outputs.items():
        if value.shape.rank == 0 or value.shape[:1].as_list() != [None]:
            raise ValueError(
                f"The first axis of decoded output '{name}' must be the batch, since servers split outputs by rows; "
                f"received the shape {value.shape}. Fix the task's `decode`."
            )
        if name.endswith("_bytes"):
            raise ValueError(
                f"The name of decoded output '{name}' must not end in '_bytes', or REST encodes the output in base64. "
                "Fix the task's `decode`."
            )
    may_stand_alone = {*endpoint.tasks, endpoint.name.removeprefix(f"{_TENSORS}_")}  # named like the task or signature
    if len(outputs) < 2 and not may_stand_alone.issuperset(outputs):
        raise ValueError(
            f"Signature '{endpoint.name}' must have at least two outputs, received {sorted(outputs)}: REST drops the "
            "name of a single one. Let the task's `decode` return at least two tensors."
        )
