"""A SavedModel with a signature for all tasks, and one for each task."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._model import MultiTaskModel
from tf_mtl._raw_inputs import RawInputs, model_specs, pack
from tf_mtl.export import _model_card, _requests
from tf_mtl.export._batching import FILE as BATCHING
from tf_mtl.export._batching import batching_text
from tf_mtl.export._check import check as check_folder
from tf_mtl.export._check import expected_outputs
from tf_mtl.export._endpoints import DEFAULT, Endpoint, endpoints
from tf_mtl.export._functions import save
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

    It has these signatures, with the batch as the first axis of every tensor:

    - `serving_default`: every task's decoded outputs, named `<task>_<part>`: `topic_label`, `topic_score`,
      `intensity_value`, `intensity_raw`; see the tasks' `decode`;
    - `<task>`: only that task's decoded outputs; other tasks' heads are not part of its graph;
    - `<task>_<part>`: a decoded output that needs only some of the inputs, such as one tower of `Matching`.

    Without a preprocessor, they take the model's inputs, by the names of its Input layers. With a preprocessor, they
    take its inputs, and `tensors` and `tensors_<task>` are the same signatures from the model's inputs. The outputs of
    a preprocessor are truncated, or padded with zeros, to the model's lengths. Weights are stored once. Loading needs
    only TensorFlow (and TF-Text, if the preprocessor uses its ops).

    The folder also contains a warm-up file with a request to every signature and the expected outputs,
    `model_card.json`, `README.md` with example requests, and `batching_params.pbtxt` if `batching` is given.

    Args:
        model: A model. Without task objects, which decode outputs, the signatures return the outputs themselves, named
            after their tasks, and the model card says so.
        directory: The model's folder; each version is a sub-folder. The name of the folder is the model's name.
        version: Number of the version; by default one more than the highest existing one.
        preprocessor: Turns raw inputs into the model's, in TensorFlow ops. Its inputs are those of a functional
            `keras.Model` (its Input layers), a `keras.utils.FeatureSpace` (columns [B] by name) or a `tf.function`
            with an `input_signature` of one argument with named specs (encoded images, for example). One of
            `tf_mtl.text` takes texts named `text`, or pairs of texts with the names of its `pair`. Any other layer or
            function, such as an adapted `keras.layers.TextVectorization`, takes strings [B], named `text`. Lookup
            tables must be attributes of a layer, since those of a function are not saved.
        signatures: "per_task", or `{name: tasks}` for other groups of tasks; {} for `serving_default` only.
        warmup: Examples of raw inputs, or of the model's inputs without a preprocessor: `{input: values}`, or the
            values of the only input. By default two generated rows.
        batching: The content of `batching_params.pbtxt`, which a server reads with `--enable_batching` and
            `--enable_per_model_batching_parameters`: `max_batch_size`, and optionally `batch_timeout_micros`,
            `max_enqueued_batches`, `num_batch_threads`, and `allowed_batch_sizes`, which increase to `max_batch_size`.
        metrics: Results for the model card, as `evaluate(return_dict=True)` returns them.
        data: A description of the data that the model was trained and tested on, for the model card.
        check: Whether to run `tf_mtl.export.check` before the version appears.

    Returns:
        The version's folder. It appears only when it is complete and has passed the check.

    Raises:
        ValueError: if the folder's name has characters other than letters, digits and ._-, the name of a signature is
            reserved or not an ASCII identifier, decoded outputs cannot be served, examples or batching parameters are
            invalid, or the check fails.
        FileExistsError: if the version already exists.

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
    if "://" in str(directory):
        raise ValueError(
            f"`directory` must be a local folder, received {directory}. Export to one, and copy complete versions."
        )
    directory = Path(directory)
    name = directory.absolute().name
    if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
        raise ValueError(
            "`directory` must have a name of letters, digits and ._-, which is the model's name in requests; received "
            f"{name!r}."
        )
    batching_content = None if batching is None else batching_text(batching)
    raw = None if preprocessor is None else RawInputs.of(preprocessor, model_specs(model))
    if raw is not None:
        raw.check_lengths(model_specs(model))
    served = endpoints(model, raw, signatures)
    requests = _warmup_requests(model, raw, served, warmup, check)
    with new_version(directory, version) as (folder, number):
        of_tasks = [part for task in model.tasks for part in vars(task).values()]  # such as tokenizers
        owners = [x for x in (model, preprocessor, *of_tasks) if isinstance(x, keras.layers.Layer)]
        _write(served, [layer for owner in owners for layer in owner._flatten_layers()], folder)
        _requests.write(folder / _requests.FILE, requests, name)
        _model_card.write(folder, name, number, model, served, requests[0].inputs, metrics, data)
        if batching_content is not None:
            (folder / BATCHING).write_text(batching_content)
        if check:
            check_folder(folder)
    return directory / str(number)


def _write(served, layers, folder):
    parts = [part for layer in layers for part in tf.train.TrackableView(layer).descendants()]
    tables = [part for part in parts if isinstance(part, tf.saved_model.experimental.TrackableResource)]
    try:
        save({endpoint.name: endpoint.answer for endpoint in served}, folder, tables)
    except AssertionError as error:
        if "untracked" not in str(error):
            raise
        raise ValueError(
            "The lookup tables of a function cannot be saved. Make the table an attribute of a Keras layer, and pass "
            f"that layer as `preprocessor`. {error}"
        ) from error


def _warmup_requests(
    model: MultiTaskModel, raw: RawInputs | None, served: Sequence[Endpoint], examples: Any, check: bool
) -> list[Request]:
    """Requests to all signatures with the expected outputs, the one to `serving_default` first."""
    specs = model_specs(model)
    (default,) = [endpoint for endpoint in served if endpoint.name == DEFAULT]
    given = _requests.named(examples, default.inputs)
    try:
        packed = pack(specs if raw is None else raw.specs, given)
        inputs = packed if raw is None else raw.prepare(packed)
        outputs = expected_outputs(model, inputs, None if raw is None else raw.located(packed, model.tasks), check)
    except tf.errors.InvalidArgumentError as error:
        if examples is not None:
            raise
        raise ValueError(
            f"The model fails on generated examples for the warm-up file; pass real ones as `warmup`. {error}"
        ) from error
    names, values = [spec.name for spec in keras.tree.flatten(specs)], keras.tree.flatten(inputs)
    prepared = {name: value.numpy() for name, value in zip(names, values, strict=True)}
    requests = [
        Request(
            endpoint.name,
            {name: (given if endpoint.raw == default.raw else prepared)[name] for name in endpoint.inputs},
            {name: outputs[name] for name in endpoint.outputs},
        )
        for endpoint in served
    ]
    return sorted(requests, key=lambda request: request.signature != DEFAULT)
