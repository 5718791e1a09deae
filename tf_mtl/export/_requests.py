"""Requests to an export with the expected outputs: its warm-up file."""

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
    """One request.

    Attributes:
        signature: The name of the signature.
        inputs: The inputs by name.
        expected: The expected outputs by name; empty if they are unknown.
    """

    signature: str
    inputs: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(next(iter(self.inputs.values())))


def named(examples: Any, specs: Mapping[str, tf.TensorSpec]) -> dict[str, np.ndarray]:
    """Return examples as arrays by input name.

    Args:
        examples: `{input: values}`, or the values of the only input; None to generate them: short texts, integer zeros
            and standard normal floats.
        specs: The specs of the inputs by name.

    Raises:
        ValueError: for unknown or missing inputs, values of another type or shape, no rows, or different numbers of
            rows.
    """
    if examples is None:
        return {name: _generated(spec) for name, spec in specs.items()}
    if not isinstance(examples, Mapping):
        if len(specs) > 1:
            raise ValueError(
                f"The examples must be a dict {{input: values}} of {sorted(specs)}, received {examples!r}."
            )
        examples = {next(iter(specs)): examples}
    if set(examples) != set(specs):
        raise ValueError(f"The examples must give the inputs {sorted(specs)}, received {sorted(examples)}.")
    arrays = {name: _array(name, examples[name], spec) for name, spec in specs.items()}
    rows = {name: len(values) for name, values in arrays.items()}
    if len(set(rows.values())) > 1 or 0 in rows.values():
        raise ValueError(f"The examples must have the same number of rows, at least one, received {rows}.")
    return arrays


def write(path: Path, requests: Iterable[Request], model: str) -> None:
    """Write requests and expected outputs as a warm-up file of TensorFlow Serving.

    Args:
        path: The file.
        requests: The requests.
        model: The name under which the model is served.
    """
    from tensorflow_serving.apis import prediction_log_pb2  # late, since it imports gRPC

    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog()
            sent, received = log.predict_log.request, log.predict_log.response
            sent.model_spec.name = model
            sent.model_spec.signature_name = request.signature
            for name, value in request.inputs.items():
                sent.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            for name, value in request.expected.items():
                received.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            writer.write(log.SerializeToString())


def read(path: Path) -> Iterator[Request]:
    """Yield the requests of a warm-up file."""
    from tensorflow_serving.apis import prediction_log_pb2

    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record).predict_log
        inputs = {name: tf.make_ndarray(value) for name, value in log.request.inputs.items()}
        outputs = {name: tf.make_ndarray(value) for name, value in log.response.outputs.items()}
        yield Request(log.request.model_spec.signature_name, inputs, outputs)


def _generated(spec):
    shape = [_ROWS, *(size or _LENGTH for size in spec.shape[1:])]
    if spec.dtype == tf.string:
        return np.resize(np.array([b"", b"warm up"], object), shape)
    if spec.dtype.is_floating:
        return np.random.default_rng(0).standard_normal(shape).astype(spec.dtype.as_numpy_dtype)
    return np.zeros(shape, spec.dtype.as_numpy_dtype)


def _array(name, values, spec):
    try:
        array = np.asarray(tf.constant(values if tf.is_tensor(values) else _without_numpy_strings(values), spec.dtype))
        if spec.dtype.is_integer and not (array == np.asarray(values)).all():
            raise ValueError(f"received {values!r}.")
    except (TypeError, ValueError) as error:
        raise ValueError(f"Example input '{name}' must be {spec.dtype.name}: {error}") from error
    if array.ndim == 1 and spec.shape[1:] == [1]:
        return array[:, None]  # as `fit` and `predict` take columns
    if not spec.shape.is_compatible_with(array.shape):
        raise ValueError(f"Example input '{name}' must have the shape {spec.shape}, received {array.shape}.")
    return array


def _without_numpy_strings(values):
    """An array, or lists of Python strings, since TensorFlow does not accept those of NumPy."""
    array = np.asarray(values)
    return array.tolist() if array.dtype.kind in "OUS" else array
