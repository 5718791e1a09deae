"""Check that an export is what a server needs, and gives the model's outputs."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mtl._located import Located
from tf_mtl._model import MultiTaskModel
from tf_mtl._raw_inputs import RawInputs, completed, model_specs
from tf_mtl.export import _requests, _session
from tf_mtl.export._answers import answers
from tf_mtl.export._decoders import check_decoder
from tf_mtl.export._model_card import FILE as CARD
from tf_mtl.export._model_card import SIGNATURE_KEYS
from tf_mtl.export._requests import Request
from tf_mtl.export._verdict import judge

TIME_LIMIT_SECONDS = 1800


def check(
    path: str | Path,
    model: MultiTaskModel | None = None,
    examples: Any = None,
    preprocessor: Callable[[Any], Any] | None = None,
) -> None:
    """Load an export as a server does, and compare its outputs with those of the model.

    In a fresh process that has only TensorFlow, on the CPU, the session loader that TensorFlow Serving uses loads the
    folder and runs the requests of its warm-up file. A table is printed, with these columns per signature:
    `rows`, the number of rows sent; `difference`, the largest of |output - expected| / (1 + |expected|), where the
    expected outputs are the model's; `alone`, the same between a row in its batch and the row sent alone (of the first
    eight); and the variables and parameters that the signature reaches. A difference within the tolerance is printed as
    such.

    If a model is given, and when `saved_model` calls this function, `decode` of each task is checked as well: every
    position of an output such as [B, H, W, 1] must have an effect on the answer.

    Args:
        path: The version's folder, as `saved_model` returned it.
        model: The model to compare with; by default the outputs that it gave when it was exported.
        examples: Inputs to send instead of those of the warm-up file: the model's, or raw ones, as
            `saved_model(warmup=...)` takes them.
        preprocessor: The preprocessor exported with the model; needed to compare raw inputs with `model`.

    Raises:
        ValueError: if outputs differ by more than 1e-5 (2e-2 where the graph has floats of 16 bits or weights that
            are integers), a row's outputs depend on its batch, outputs and inputs differ in their number of rows,
            `decode` ignores positions, weights are stored twice, a signature reaches more than its tasks need or
            demands XLA, a signature, its request or its expected outputs are missing, the warm-up file is missing or
            cut off, or the model card is missing or damaged.
        RuntimeError: if the model cannot be loaded and run, for example because a file is missing or damaged, or if
            this takes more than 30 minutes.

    Example:

    >>> import tempfile
    >>> trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    >>> tasks = [mtl.tasks.Regression("stars"), mtl.tasks.BinaryClassification("sold")]
    >>> model = mtl.build_model(keras.Input((4,), name="x"), trunk, tasks)
    >>> path = mtl.export.saved_model(model, tempfile.mkdtemp(), check=False)
    >>> mtl.export.check(path, model, np.ones((2, 4)))
    | signature       | rows | difference | alone    | variables | parameters |
    |-----------------|-----:|------------|----------|----------:|-----------:|
    | serving_default |    2 | <= 1e-05   | <= 1e-05 |         6 |         58 |
    | stars           |    2 | <= 1e-05   | <= 1e-05 |         4 |         49 |
    | sold            |    2 | <= 1e-05   | <= 1e-05 |         4 |         49 |
    <BLANKLINE>
    Weights: 232 bytes.
    """
    path = Path(path)
    promised = _promised_signatures(path)
    warmup, is_whole = _read_requests(path / _requests.FILE)
    requests = [request for request in warmup if request.signature in promised]
    if examples is not None:
        requests = _with_examples(requests, examples, promised)
    if model is not None:
        raw = None if preprocessor is None else RawInputs.of(preprocessor, model_specs(model))
        requests = [_with_expected_outputs(model, raw, request, promised) for request in requests]
    faults = _warmup_faults(warmup, promised, is_whole)
    judge(promised, requests, _run_in_fresh_process(path, requests), faults)


def expected_outputs(
    model: MultiTaskModel, inputs: Any, located: Located | None = None, check: bool = True
) -> dict[str, np.ndarray]:
    """Return the model's decoded outputs, by their names in an export.

    Args:
        model: The model.
        inputs: Its inputs.
        located: What answers refer to, where the inputs come from raw texts or images; see `Task.answer`.
        check: Whether to check that answers depend on all positions of the outputs.
    """
    with tf.device("CPU"):  # where the export is run
        outputs = model(inputs, training=False)
        for task in model.tasks if check else ():
            check_decoder(task, outputs[task.name])
        by_name = answers(model.tasks, outputs, located)
        return {name: np.asarray(value) for name, value in by_name.items()}


def _promised_signatures(path: Path) -> dict[str, Any]:
    """Return the signatures of a model card."""
    file = path / CARD
    if not file.is_file():
        raise ValueError(f"{path} has no {CARD}: give the folder of one version, as `saved_model` returned it.")
    try:
        signatures = json.loads(file.read_text("utf-8"))["signatures"]
        is_complete = all(set(signature) >= SIGNATURE_KEYS for signature in signatures.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        is_complete = False
    if not is_complete:
        raise ValueError(f"{file} is damaged. Export the model again.")
    return signatures


def _warmup_faults(requests: Sequence[Request], promised: Mapping[str, Any], is_whole: bool) -> list[str]:
    """Return the faults of a warm-up file, which has a request with expected outputs to every signature."""
    faults, requested = [], {request.signature for request in requests}
    without_request = sorted(set(promised) - requested)
    if without_request:
        faults.append(f"the warm-up file is missing or cut off, since it has no request to {without_request}")
    elif not is_whole:
        faults.append("the warm-up file is damaged after its requests, and servers refuse it")
    if requested - set(promised):
        faults.append(f"the warm-up file has requests to unknown signatures, {sorted(requested - set(promised))}")
    without_outputs = sorted({request.signature for request in requests if not request.expected})
    if without_outputs:
        faults.append(f"the warm-up file has no expected outputs of {without_outputs}")
    return faults


def _read_requests(path: Path) -> tuple[list[Request], bool]:
    """Return the requests of a warm-up file, which may be missing or damaged, and whether it was read to its end."""
    requests: list[Request] = []
    with contextlib.suppress(tf.errors.DataLossError, tf.errors.NotFoundError):
        requests.extend(_requests.read(path))  # keeps those before the damage
        return requests, True
    return requests, False


def _with_examples(requests: Sequence[Request], examples: Any, promised: Mapping[str, Any]) -> list[Request]:
    """Requests with the examples as inputs, to the signatures that take them."""
    replaced, error = [], None
    for request in requests:
        inputs = promised[request.signature]["inputs"]
        if not isinstance(examples, Mapping) or set(examples) == set(inputs):
            specs = {name: tf.TensorSpec(spec["shape"], spec["dtype"], name) for name, spec in inputs.items()}
            try:
                replaced.append(Request(request.signature, _requests.named(examples, specs), {}))
            except ValueError as wrong:
                error = wrong
    if not replaced:
        accepted = sorted({tuple(sorted(signature["inputs"])) for signature in promised.values()})
        raise ValueError(
            f"`examples` must fit a signature; the signatures take the inputs {accepted}. {error or ''}"
        ) from error
    return replaced


def _with_expected_outputs(
    model: MultiTaskModel, raw: RawInputs | None, request: Request, promised: Mapping[str, Any]
) -> Request:
    signature = promised[request.signature]
    if not signature["raw"]:
        outputs = expected_outputs(model, completed(model_specs(model), request.inputs))
    elif raw is not None:
        inputs = completed(raw.specs, request.inputs)
        outputs = expected_outputs(model, raw.prepare(inputs), raw.located(inputs, model.tasks))
    elif request.expected:
        return request
    else:
        raise ValueError("Raw `examples` are compared with `model` only through its preprocessor. Pass `preprocessor`.")
    return Request(request.signature, request.inputs, {name: outputs[name] for name in signature["outputs"]})


def _run_in_fresh_process(path: Path, requests: Sequence[Request]) -> _session.Findings:
    with tempfile.TemporaryDirectory() as folder:
        sent, received = Path(folder) / "requests", Path(folder) / "findings"
        _session.write(sent, [{"signature": request.signature, "inputs": request.inputs} for request in requests])
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-P", _session.__file__, str(path.absolute()), str(sent), str(received)]
        try:
            process = subprocess.run(
                command, capture_output=True, text=True, env=environment, cwd=folder, timeout=TIME_LIMIT_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(
                f"A fresh process could not load and run {path} within {TIME_LIMIT_SECONDS} seconds. Use fewer rows: "
                "`examples`, or `warmup` of the export."
            ) from error
        if process.returncode:
            raise RuntimeError(
                f"A fresh process could not load and run {path}, and ended with status {process.returncode}. If a file "
                f"is missing or damaged, export the model again.\n{process.stderr[-3000:]}"
            )
        return _session.Findings(**_session.read(received))
