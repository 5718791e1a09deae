"""A SavedModel with one signature for all tasks and one for each task alone."""

import contextlib
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from tf_mtl.model import MultiTaskModel


def saved_model(
    model: MultiTaskModel,
    directory: str | Path,
    version: int | None = None,
    preprocessor: Callable[[tf.Tensor], object] | None = None,
) -> Path:
    """Write a SavedModel for TensorFlow Serving to `directory`/`version`.

    Its signatures, each with the batch as every tensor's first axis:

    - `serving_default`: every task's decoded outputs, named `<task>_<part>`: `topic_label`, `topic_score`,
      `intensity_value`, `intensity_raw`; see the tasks' `decode`;
    - `<task>`: that task's decoded outputs alone; other tasks' heads are not part of its graph.

    Without a preprocessor they take the model's inputs, by the names of its Input layers. With one they take raw
    strings, `text` [B], and the same signatures from the model's inputs are there too, as
    `tensors` and `tensors_<task>`. Weights are stored once. Loading needs TensorFlow alone (and TF-Text, where the
    preprocessor uses its ops).

    Args:
        model: A model built with task objects.
        directory: The model's folder; it gets a sub-folder per version.
        version: Number of the version; by default one more than the highest there is.
        preprocessor: A Keras layer or function of TensorFlow ops from strings [B] to the model's inputs,
            such as an adapted `keras.layers.TextVectorization`.

    Returns:
        The version's folder. It appears only when it is complete.

    Raises:
        ValueError: if the model has no task objects, or a task bears the name of another signature.
        FileExistsError: if the version is there already.

    Example:

    >>> import tempfile
    >>> model = mtl.build_model(
    ...     keras.Input((4,), name="x"), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8])),
    ...     [mtl.tasks.Regression("stars", low=1, high=5)],
    ... )
    >>> path = mtl.export.saved_model(model, tempfile.mkdtemp())
    >>> answer = tf.saved_model.load(str(path)).signatures["serving_default"]
    >>> sorted(answer(x=tf.ones((1, 4))))
    ['stars_raw', 'stars_value']
    """
    if not model.tasks:
        raise ValueError(
            "The exported outputs are decoded by task objects, but the model has none: build it with "
            "tf_mtl.build_model, or pass `tasks` to MultiTaskModel."
        )
    reserved = {"serving_default", "tensors", *(f"tensors_{task}" for task in model.task_names)}
    taken = sorted(reserved.intersection(model.task_names))
    if taken:
        raise ValueError(f"'{taken[0]}' names another signature of the export; rename the task.")
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    version = _next_version(directory) if version is None else version
    target = directory / str(version)
    if target.exists():
        raise FileExistsError(f"Version {version} is in {directory} already; leave `version` out for the next one.")
    archive = keras.export.ExportArchive()
    if isinstance(preprocessor, keras.layers.Layer):
        preprocessor(tf.constant([""]))  # only a layer that has been called can be tracked
        archive.track(preprocessor)
    whole, prefix = ("serving_default", "") if preprocessor is None else ("tensors", "tensors_")
    parts = {whole: model.task_names, **{f"{prefix}{task}": (task,) for task in model.task_names}}
    for name, tasks in parts.items():
        answer = _answer(model, tasks)
        archive.add_endpoint(name, answer, [_signature(model)])
        if preprocessor is not None:
            text = tf.TensorSpec([None], tf.string, name="text")
            from_text = "serving_default" if name == "tensors" else name.removeprefix("tensors_")
            archive.add_endpoint(from_text, _from_text(answer, preprocessor), [text])
    with _temporary(directory) as folder:
        archive.write_out(str(folder), verbose=False)
        folder.rename(target)
    return target


def _answer(model, tasks):
    """Return a function from the model's inputs to the decoded outputs of some of its tasks."""
    part = keras.Model(model.input, {task: model.output[task] for task in tasks})
    decoders = {task.name: task.decode for task in model.tasks}

    def answer(inputs):
        outputs = part(inputs, training=False)
        return {f"{task}_{key}": value for task in tasks for key, value in decoders[task](outputs[task]).items()}

    return answer


def _from_text(answer, preprocessor):
    def from_text(text):
        return answer(preprocessor(text))

    return from_text


def _signature(model):
    return keras.tree.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype, name=x.name), model.input)


def _next_version(directory):
    return max((int(path.name) for path in directory.iterdir() if path.name.isdecimal()), default=0) + 1


@contextlib.contextmanager
def _temporary(directory):
    """A folder beside the versions, on the same disk, under a name that no server takes for a version."""
    folder = directory / f".writing-{uuid.uuid4().hex}"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
