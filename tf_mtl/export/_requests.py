"""Requests to an export with the answers that are right: its warm-up file."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

FILE = Path("assets.extra") / "tf_serving_warmup_requests"
_ROWS, _LENGTH = 2, 8


@dataclass(frozen=True)
class Request:
    """One request: a signature's name, its inputs by name, and the answer that is right, or nothing."""

    signature: str
    inputs: dict[str, np.ndarray]
    answer: dict[str, np.ndarray]


def named(examples: Any, specs: Mapping[str, tf.TensorSpec]) -> dict[str, np.ndarray]:
    """Return examples as arrays by input name.

    Args:
        examples: `{input: values}`, or the values where there is one input; None for made-up ones: short texts, zeros
            and standard normal floats.
        specs: What the inputs must be.

    Raises:
        ValueError: for unknown or missing inputs, values that do not fit, no rows, or numbers of rows that differ.
    """
    if examples is None:
        return {name: _made_up(spec) for name, spec in specs.items()}
    if not isinstance(examples, Mapping):
        if len(specs) > 1:
            raise ValueError(
                f"The examples must be a dict {{input: values}} of {sorted(specs)}, received {examples!r}."
            )
        examples = {next(iter(specs)): examples}
    if set(examples) != set(specs):
        raise ValueError(f"The examples must give the inputs {sorted(specs)}, received {sorted(examples)}.")
    found = {name: _array(name, examples[name], spec) for name, spec in specs.items()}
    rows = {name: len(values) for name, values in found.items()}
    if len(set(rows.values())) > 1 or 0 in rows.values():
        raise ValueError(f"The examples must have one number of rows, at least one, received {rows}.")
    return found


def write(path: Path, requests: Iterable[Request], model: str) -> None:
    """Write requests and answers as a warm-up file of TensorFlow Serving."""
    from tensorflow_serving.apis import prediction_log_pb2  # loads gRPC, which training does not need

    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog()
            sent, answer = log.predict_log.request, log.predict_log.response
            sent.model_spec.name = model
            sent.model_spec.signature_name = request.signature
            for name, value in request.inputs.items():
                sent.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            for name, value in request.answer.items():
                answer.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            writer.write(log.SerializeToString())


def read(path: Path) -> Iterator[Request]:
    """Yield the requests of a warm-up file."""
    from tensorflow_serving.apis import prediction_log_pb2

    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record).predict_log
        inputs = {name: tf.make_ndarray(value) for name, value in log.request.inputs.items()}
        answer = {name: tf.make_ndarray(value) for name, value in log.response.outputs.items()}
        yield Request(log.request.model_spec.signature_name, inputs, answer)


def _made_up(spec):
    shape = [_ROWS, *(size or _LENGTH for size in spec.shape[1:])]
    if spec.dtype == tf.string:
        return np.resize(np.array([b"", b"warm up"], object), shape)
    if spec.dtype.is_floating:
        return np.random.default_rng(0).standard_normal(shape).astype(spec.dtype.as_numpy_dtype)
    return np.zeros(shape, spec.dtype.as_numpy_dtype)


def _array(name, values, spec):
    try:
        found = np.asarray(tf.constant(values if tf.is_tensor(values) else _listed(values), spec.dtype))
        if spec.dtype.is_integer and not (found == np.asarray(values)).all():
            raise ValueError(f"received {values!r}.")
    except (TypeError, ValueError) as error:
        raise ValueError(f"Example input '{name}' must be {spec.dtype.name}: {error}") from error
    if not spec.shape.is_compatible_with(found.shape):
        raise ValueError(f"Example input '{name}' must have the shape {spec.shape}, received {found.shape}.")
    return found


def _listed(values):
    """NumPy's strings become Python's, which TensorFlow takes."""
    found = np.asarray(values)
    return found.tolist() if found.dtype.kind in "OUS" else found
