"""Whether an export is what a server needs, and answers as the model does."""

import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mtl._model import MultiTaskModel
from tf_mtl.export import _requests
from tf_mtl.export._inputs import Raw, model_specs, pack
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
    """Load an export as a server does, and compare its answers with those of the model.

    In a fresh process that has only TensorFlow, on the CPU, the session loader of TensorFlow Serving's API loads the
    folder and answers the requests of its warm-up file. A table is printed, with these columns per signature:
    the rows sent; `difference`, the largest of |answer - right answer| / (1 + |right answer|), where the right answers
    are the model's; `alone`, the same between a row in its batch and the row sent alone (of the first eight);
    and the variables and parameters that the signature reaches. Differences within the tolerance are shown as such.

    Args:
        path: The version's folder, as `saved_model` returned it.
        model: The model to compare with; without it, the answers that it gave when it was exported.
        examples: Inputs to send instead of the warm-up file's: the model's, or raw ones, as
            `saved_model(warmup=...)` takes them.
        preprocessor: What was exported with the model; needed where raw inputs are compared with `model`.

    Raises:
        ValueError: if answers differ by more than the tolerance that the export noted (1e-5; 2e-2 where the model
            computes in 16 bits or in integers), a row's answer depends on its batch, weights are stored twice, a
            signature reaches more than its tasks need or demands XLA, a signature is missing, or the folder was not
            written by `saved_model`.
        RuntimeError: if the model cannot be loaded or fails to answer.

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
    requests = list(_requests.read(path / _requests.FILE))
    if examples is not None:
        requests = _with_examples(requests, examples, card)
    if model is not None:
        raw = None if preprocessor is None else Raw.of(preprocessor, model_specs(model))
        requests = [_answered_by(model, raw, request, card) for request in requests]
    judge(card, requests, _in_fresh_process(path, requests))


def right_answer(model: MultiTaskModel, inputs: Any, located: LocatedTexts | None = None) -> dict[str, np.ndarray]:
    """Return the model's own decoded outputs, by the names that they have in an export.

    Args:
        model: The model.
        inputs: Its inputs.
        located: Texts and byte offsets of their words, where raw texts are answered; see `Task.answer`.
    """
    with tf.device("CPU"):  # where the export is run
        outputs = model(inputs, training=False)
        return {
            f"{task.name}_{key}": np.asarray(value)
            for task in model.tasks
            for key, value in task.answer(outputs[task.name], located).items()
        }


def _with_examples(requests, examples, card):
    """Requests with other inputs, to the signatures that take them."""
    found, error = [], None
    for request in requests:
        inputs = card["signatures"][request.signature]["inputs"]
        if not isinstance(examples, Mapping) or set(examples) == set(inputs):
            specs = {name: tf.TensorSpec(spec["shape"], spec["dtype"], name) for name, spec in inputs.items()}
            try:
                found.append(Request(request.signature, _requests.named(examples, specs), {}))
            except ValueError as wrong:
                error = wrong
    if not found:
        takes = sorted({tuple(sorted(signature["inputs"])) for signature in card["signatures"].values()})
        raise ValueError(f"`examples` fit no signature; these take the inputs {takes}. {error or ''}") from error
    return found


def _answered_by(model, raw, request, card):
    signature = card["signatures"][request.signature]
    if not signature["raw"]:
        found = right_answer(model, pack(model_specs(model), request.inputs))
    elif raw is not None:
        inputs = pack(raw.specs, request.inputs)
        found = right_answer(model, raw.prepare(inputs), raw.located(inputs))
    elif request.answer:
        return request
    else:
        raise ValueError("Pass `preprocessor`, without which the model cannot answer raw examples.")
    return Request(request.signature, request.inputs, {name: found[name] for name in signature["outputs"]})


def _in_fresh_process(path, requests):
    with tempfile.TemporaryDirectory() as folder:
        sent, received = Path(folder) / "requests", Path(folder) / "answers"
        sent.write_bytes(pickle.dumps([(request.signature, request.inputs) for request in requests]))
        script = Path(__file__).with_name("_session.py")
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-P", str(script), str(path.absolute()), str(sent), str(received)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
        if done.returncode:
            raise RuntimeError(f"A fresh process could not load and ask {path}:\n{done.stderr[-3000:]}")
        return pickle.loads(received.read_bytes())
