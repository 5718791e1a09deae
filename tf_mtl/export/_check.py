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

from tf_mtl._model import MultiTaskModel
from tf_mtl.export import _requests, _session
from tf_mtl.export._answers import answers
from tf_mtl.export._decoders import check_decoder
from tf_mtl.export._inputs import RawInputs, model_specs, pack
from tf_mtl.export._model_card import FILE as CARD
from tf_mtl.export._requests import Request
from tf_mtl.export._verdict import judge
from tf_mtl.text import LocatedTexts


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
        ValueError: if outputs differ by more than the tolerance in the model card (1e-5; 2e-2 where the model
            computes in 16 bits or in integers), a row's outputs depend on its batch, outputs and inputs differ in their
            number of rows, `decode` ignores positions, weights are stored twice, a signature reaches more than its
            tasks need or demands XLA, a signature or its request is missing, or the folder was not written by
            `saved_model`.
        RuntimeError: if the model cannot be loaded or run.

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
    if not (path / CARD).is_file():
        raise ValueError(f"{path} has no {CARD}: give the folder of one version, as `saved_model` returned it.")
    card = json.loads((path / CARD).read_text())
    requests = _read_requests(path / _requests.FILE)
    without_request = sorted(set(card["signatures"]) - {request.signature for request in requests})
    if examples is not None:
        requests = _with_examples(requests, examples, card)
    if model is not None:
        raw = None if preprocessor is None else RawInputs.of(preprocessor, model_specs(model))
        requests = [_with_expected_outputs(model, raw, request, card) for request in requests]
    judge(card, requests, _run_in_fresh_process(path, requests), without_request)


def expected_outputs(
    model: MultiTaskModel, inputs: Any, located: LocatedTexts | None = None, check: bool = True
) -> dict[str, np.ndarray]:
    """Return the model's decoded outputs, by their names in an export.

    Args:
        model: The model.
        inputs: Its inputs.
        located: Texts and byte offsets of their words, where the inputs come from raw texts; see `Task.answer`.
        check: Whether to check that answers depend on all positions of the outputs.
    """
    with tf.device("CPU"):  # where the export is run
        outputs = model(inputs, training=False)
        for task in model.tasks if check else ():
            check_decoder(task, outputs[task.name])
        by_name = answers(model.tasks, outputs, located)
        return {name: np.asarray(value) for name, value in by_name.items()}


def _read_requests(path: Path) -> list[Request]:
    """Return the requests of a warm-up file, which may be missing or cut off."""
    requests: list[Request] = []
    with contextlib.suppress(tf.errors.DataLossError, tf.errors.NotFoundError):
        requests.extend(_requests.read(path))
    return requests


def _with_examples(requests: Sequence[Request], examples: Any, card: Mapping[str, Any]) -> list[Request]:
    """Requests with the examples as inputs, to the signatures that take them."""
    replaced, error = [], None
    for request in requests:
        inputs = card["signatures"][request.signature]["inputs"]
        if not isinstance(examples, Mapping) or set(examples) == set(inputs):
            specs = {name: tf.TensorSpec(spec["shape"], spec["dtype"], name) for name, spec in inputs.items()}
            try:
                replaced.append(Request(request.signature, _requests.named(examples, specs), {}))
            except ValueError as wrong:
                error = wrong
    if not replaced:
        accepted = sorted({tuple(sorted(signature["inputs"])) for signature in card["signatures"].values()})
        raise ValueError(
            f"`examples` must fit a signature; the signatures take the inputs {accepted}. {error or ''}"
        ) from error
    return replaced


def _with_expected_outputs(
    model: MultiTaskModel, raw: RawInputs | None, request: Request, card: Mapping[str, Any]
) -> Request:
    signature = card["signatures"][request.signature]
    if not signature["raw"]:
        outputs = expected_outputs(model, pack(model_specs(model), request.inputs))
    elif raw is not None:
        inputs = pack(raw.specs, request.inputs)
        outputs = expected_outputs(model, raw.prepare(inputs), raw.located(inputs))
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
        process = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
        if process.returncode:
            raise RuntimeError(f"A fresh process could not load and run {path}:\n{process.stderr[-3000:]}")
        return _session.Findings(**_session.read(received))
