"""A SavedModel with one signature for all tasks and one for each task alone."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._model import MultiTaskModel
from tf_mtl.export import _model_card, _requests
from tf_mtl.export._batching import FILE as BATCHING
from tf_mtl.export._batching import batching_text
from tf_mtl.export._check import check as check_folder
from tf_mtl.export._check import right_answer
from tf_mtl.export._endpoints import endpoints
from tf_mtl.export._inputs import Raw, model_specs, pack
from tf_mtl.export._requests import Request
from tf_mtl.export._versions import new_version


def saved_model(
    model: MultiTaskModel,
    directory: str | Path,
    version: int | None = None,
    preprocessor: Callable[[Any], Any] | None = None,
    signatures: str | Mapping[str, Sequence[str]] = "per_task",
    warmup: Any = None,
    batching: Mapping[str, Any] | None = None,
    *,
    metrics: Mapping[str, float] | None = None,
    data: str | None = None,
    check: bool = True,
) -> Path:
    """Write a SavedModel for TensorFlow Serving to `directory`/`version`.

    Its signatures, each with the batch as every tensor's first axis:

    - `serving_default`: every task's decoded outputs, named `<task>_<part>`: `topic_label`, `topic_score`,
      `intensity_value`, `intensity_raw`; see the tasks' `decode`;
    - `<task>`: that task's decoded outputs alone; other tasks' heads are not part of its graph.

    Without a preprocessor they take the model's inputs, by the names of its Input layers. With one they take what the
    preprocessor takes, and the same signatures from the model's inputs are there too, as `tensors` and
    `tensors_<task>`. What a preprocessor gives is cut, or padded with zeros, to the model's lengths. Weights are stored
    once. Loading needs TensorFlow alone (and TF-Text, where the preprocessor uses its ops).

    Beside the model lie a warm-up file with a request to every signature and its right answer, `model_card.json`,
    `README.md` with examples of requests, and what was asked for of `batching_params.pbtxt`.

    Args:
        model: A model built with task objects.
        directory: The model's folder; it gets a sub-folder per version, and its name is the model's.
        version: Number of the version; by default one more than the highest there is.
        preprocessor: From raw inputs to the model's, in TensorFlow ops. What it takes is read off a functional
            `keras.Model` (its Input layers), a `keras.utils.FeatureSpace` (columns [B] by name) or a `tf.function`
            with an `input_signature` of one argument whose specs are named (encoded images, say). Any other layer or
            function, such as an adapted `keras.layers.TextVectorization`, takes strings [B], named `text`. Lookup
            tables must be in a layer, for a function's are not saved.
        signatures: "per_task", or `{name: tasks}` for signatures of your own; {} leaves `serving_default`.
        warmup: Examples of raw inputs, or of the model's where there is no preprocessor: `{input: values}`, or the
            values where there is one input. By default two made-up rows.
        batching: For `batching_params.pbtxt`, which a server reads with `--enable_batching` and
            `--enable_per_model_batching_parameters`: `max_batch_size`, and as you like `batch_timeout_micros`,
            `max_enqueued_batches`, `num_batch_threads`, and `allowed_batch_sizes`, rising to `max_batch_size`.
        metrics: Results for the card, as `evaluate(return_dict=True)` gives them.
        data: What the model was trained and tested on, for the card.
        check: Whether to run `tf_mtl.export.check` before the version appears.

    Returns:
        The version's folder. It appears only when it is complete and has passed the check.

    Raises:
        ValueError: if the model has no task objects, the folder's name has odd characters, a signature's name is taken,
            decoded outputs cannot be served, examples or batching parameters do not fit, or the check fails.
        FileExistsError: if the version is there already.

    Example:

    >>> import tempfile
    >>> model = mtl.build_model(
    ...     keras.Input((4,), name="x"), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8])),
    ...     [mtl.tasks.Regression("stars", low=1, high=5)],
    ... )
    >>> path = mtl.export.saved_model(model, tempfile.mkdtemp(), check=False)
    >>> answer = tf.saved_model.load(str(path)).signatures["serving_default"]
    >>> sorted(answer(x=tf.ones((1, 4))))
    ['stars_raw', 'stars_value']
    """
    if not model.tasks:
        raise ValueError(
            "The exported outputs are decoded by task objects, but the model has none: build it with "
            "tf_mtl.build_model, or pass `tasks` to MultiTaskModel."
        )
    if "://" in str(directory):
        raise ValueError(f"`directory` must be a local folder, from which to copy whole versions, not {directory}.")
    directory = Path(directory)
    name = directory.absolute().name
    if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
        raise ValueError(f"The folder names the model in requests, so letters, digits and ._- alone will do: {name!r}.")
    groups = batching_text(batching) if batching is not None else None
    raw = None if preprocessor is None else Raw.of(preprocessor, model_specs(model))
    found = endpoints(model, raw, signatures)
    requests = _right(model, raw, found, warmup)
    with new_version(directory, version) as (folder, number):
        _write(found, [x for x in (model, preprocessor) if isinstance(x, keras.layers.Layer)], folder)
        _requests.write(folder / _requests.FILE, requests, name)
        _model_card.write(folder, name, number, model, found, requests[0].inputs, metrics, data)
        if groups is not None:
            (folder / BATCHING).write_text(groups)
        if check:
            check_folder(folder)
    return directory / str(number)


def _write(found, holders, folder):
    archive = keras.export.ExportArchive()
    for layer in [layer for holder in holders for layer in holder._flatten_layers()]:
        for part in tf.train.TrackableView(layer).descendants():
            if isinstance(part, tf.saved_model.experimental.TrackableResource):
                archive.track(part)  # a lookup table; tracking its layer would store the layer's weights twice
    for endpoint in found:
        archive.add_endpoint(endpoint.name, endpoint.answer)
    try:
        archive.write_out(str(folder), verbose=False)
    except AssertionError as error:
        if "untracked" not in str(error):
            raise
        raise ValueError(
            "A function holds a lookup table, which cannot be saved: let a Keras layer hold it, as an attribute, and "
            f"pass that layer as `preprocessor`. {error}"
        ) from error


def _right(model, raw, found, examples):
    """Requests to all signatures with the model's answers, the one to `serving_default` first."""
    specs = model_specs(model)
    (default,) = [endpoint for endpoint in found if endpoint.name == "serving_default"]
    given = _requests.named(examples, default.inputs)
    try:
        packed = pack(specs if raw is None else raw.specs, given)
        inputs = packed if raw is None else raw.prepare(packed)
        answer = right_answer(model, inputs, None if raw is None else raw.located(packed))
    except tf.errors.InvalidArgumentError as error:
        if examples is not None:
            raise
        raise ValueError(f"The model cannot answer made-up examples; pass real ones as `warmup`. {error}") from error
    prepared = dict(zip([spec.name for spec in keras.tree.flatten(specs)], keras.tree.flatten(inputs), strict=True))
    requests = [
        Request(
            endpoint.name,
            given if endpoint.raw == default.raw else {name: value.numpy() for name, value in prepared.items()},
            {name: answer[name] for name in endpoint.outputs},
        )
        for endpoint in found
    ]
    return sorted(requests, key=lambda request: request.signature != "serving_default")
