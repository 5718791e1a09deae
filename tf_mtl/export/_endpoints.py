"""What an export answers: its signatures, each from inputs by name to the decoded outputs of some tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._model import MultiTaskModel
from tf_mtl._names import check_names
from tf_mtl.export._inputs import Raw, model_specs


@dataclass(frozen=True)
class Endpoint:
    """One signature.

    Attributes:
        name: Its name.
        raw: Whether it takes raw inputs.
        tasks: The tasks that it answers.
        specs: What it takes: named `tf.TensorSpec`s in the structure that `answer` takes.
        answer: From the inputs to the decoded outputs, a traced `tf.function`.
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
        found.append(_endpoint(plain, False, tasks, specs, answer, weights))
        if raw is not None:
            found.append(_from_raw(name or "serving_default", tasks, raw, answer, weights))
    return found


def _groups(model, signatures):
    if signatures == "per_task":
        groups = {task: (task,) for task in model.task_names}
    elif isinstance(signatures, Mapping):
        groups = dict(signatures)
    else:
        raise ValueError(f'`signatures` must be "per_task" or a dict {{name: tasks}}, received {signatures!r}.')
    reserved = {"serving_default", "tensors", *(f"tensors_{name}" for name in groups)}
    for name, tasks in groups.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"A signature's name must be an identifier, received {name!r}.")
        if name in reserved:
            raise ValueError(f"'{name}' names another signature of the export; rename the task or the signature.")
        if isinstance(tasks, str) or not tasks:
            raise ValueError(f"`signatures['{name}']` must be a list of tasks, received {tasks!r}.")
        check_names(f"signatures['{name}']", tasks, model.task_names, required=False)
    return groups


def _answer(model, part):
    readers = {task.name: task.answer for task in model.tasks}

    def answer(inputs, located=None):
        outputs = part(inputs, training=False)
        decoded = [
            (f"{task}_{key}", value)
            for task, output in outputs.items()
            for key, value in readers[task](output, located).items()
        ]
        if len(dict(decoded)) < len(decoded):
            raise ValueError(
                f"Two decoded outputs bear one name: {sorted(name for name, _ in decoded)}. Rename a task."
            )
        return dict(decoded)

    return answer


def _from_raw(name, tasks, raw, answer, weights):
    own = raw.prepare.get_concrete_function().variables

    def from_raw(inputs):
        return answer(raw.prepare(inputs), raw.located(inputs))

    return _endpoint(name, True, tasks, raw.specs, from_raw, [*weights, *own])


def _endpoint(name, raw, tasks, specs, answer, weights):
    def checked(inputs):
        # sessions take any shape; a row too many would shift the answers of a server's other requests
        return answer(keras.tree.map_structure(lambda x, spec: tf.ensure_shape(x, spec.shape), inputs, specs))

    traced = tf.function(checked, input_signature=[specs], autograph=False)
    found = Endpoint(name, raw, tuple(tasks), specs, traced, weights)
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
