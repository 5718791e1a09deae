"""From a model's outputs to what they say."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._located import locate
from tf_mtl._names import check_names
from tf_mtl._raw_inputs import RawInputs, as_tensors, model_specs
from tf_mtl.tasks import Task
from tf_mtl.text import TextPreprocessor

# The models of some tasks of a model that `answer` has made, so that each is traced once.
_PARTS: weakref.WeakKeyDictionary[keras.Model, dict[tuple[str, ...], keras.Model]] = weakref.WeakKeyDictionary()


def forget_parts(model: keras.Model) -> None:
    """Forget the models of some tasks, as `compile` does with Keras' own functions."""
    _PARTS.pop(model, None)


def decode(
    tasks: Sequence[Task],
    outputs: Mapping[str, Any],
    texts: Sequence[str] | Mapping[str, Sequence[str]] | None,
    preprocessor: TextPreprocessor | None,
) -> dict[str, dict[str, np.ndarray]]:
    """Return the decoded outputs by task; see `MultiTaskModel.decode`."""
    if not tasks:
        raise ValueError(
            "`decode` needs task objects, which say how to read an output: build the model with "
            "tf_mtl.build_model, or pass `tasks` to MultiTaskModel."
        )
    if any(isinstance(output, tf.RaggedTensor) for output in outputs.values()):
        raise ValueError(
            "`outputs` come from batches that differ in length: decode each batch, "
            "`model.decode(model.predict_on_batch(batch))`, or pad all to one length before `predict`."
        )
    located = None
    if texts is not None and preprocessor is not None:
        rows = {task.name: outputs[task.name].shape[0] for task in tasks}
        by_name = texts if isinstance(texts, Mapping) else {"text": texts}
        if any(isinstance(part, str) or len(part) != number for part in by_name.values() for number in rows.values()):
            raise ValueError(f"`texts` must be a list with one text per row of `outputs`, {rows}.")
        tensors = {name: tf.constant(list(part), tf.string) for name, part in by_name.items()}
        located = locate(preprocessor, tensors if isinstance(texts, Mapping) else tensors["text"])
    elif texts is not None or preprocessor is not None:
        raise ValueError("Pass `texts` and `preprocessor` together: the preprocessor tells where the words are.")
    return _decoded(tasks, outputs, located)


def answer(
    model: keras.Model,
    tasks: Sequence[Task],
    inputs: Any,
    preprocessor: Callable[[Any], Any] | None,
    names: Sequence[str] | None,
    batch_size: int,
    part: Callable[[Sequence[Task]], keras.Model],
) -> dict[str, dict[str, np.ndarray]]:
    """Return the answers by task to raw inputs; see `MultiTaskModel.answer`.

    Args:
        model: The model.
        tasks: Its task objects.
        inputs: See `MultiTaskModel.answer`.
        preprocessor: See `MultiTaskModel.answer`.
        names: The names of the tasks to answer for; None for all.
        batch_size: See `MultiTaskModel.answer`.
        part: Makes the model of some tasks.
    """
    if not tasks:
        raise ValueError(
            "`answer` needs task objects, which say how to read an output: build the model with tf_mtl.build_model, or "
            "pass `tasks` to MultiTaskModel."
        )
    names = [names] if isinstance(names, str) else names
    check_names("tasks", names or [], [task.name for task in tasks], required=False)
    chosen = [task for task in tasks if names is None or task.name in names]
    if not chosen:
        return {}
    located, specs = None, model_specs(model)
    if preprocessor is None:
        inputs = as_tensors(inputs, specs)
    else:
        raw = RawInputs.of(preprocessor, specs)
        inputs = as_tensors(inputs, raw.specs)
        located = raw.located(inputs, chosen)
        inputs = raw.prepared(inputs, batch_size)
    if len(chosen) < len(tasks):
        made = _PARTS.setdefault(model, {})
        key = tuple(task.name for task in chosen)
        if key not in made:
            made[key] = part(chosen)
        model = made[key]
    outputs = _outputs(model, inputs, batch_size)
    return _decoded(chosen, outputs, located)


def _outputs(model, inputs, batch_size):
    """The outputs for all rows, which may be none."""
    batches = isinstance(inputs, tf.data.Dataset)
    if (inputs.cardinality() if batches else keras.tree.flatten(inputs)[0].shape[0]) != 0:
        return model.predict(inputs, batch_size=batch_size, verbose=0)
    row = keras.tree.map_structure(
        lambda spec: tf.zeros([1, *(size or 1 for size in spec.shape[1:])], spec.dtype), model_specs(model)
    )
    return {task: output[:0] for task, output in model.predict(row, verbose=0).items()}


def _decoded(tasks, outputs, located):
    return {
        task.name: {key: _array(value) for key, value in task.answer(outputs[task.name], located).items()}
        for task in tasks
    }


def _array(value):
    value = np.asarray(value)
    return np.char.decode(value.astype(bytes), "utf-8") if value.dtype == object else value
