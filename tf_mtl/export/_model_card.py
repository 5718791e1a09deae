"""The description of an export: a model card in JSON, a README, and an example request."""

import base64
import datetime
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._model import MultiTaskModel
from tf_mtl._version import __version__
from tf_mtl.export._endpoints import Endpoint
from tf_mtl.export._verdict import LOW_PRECISION_TOLERANCE, TOLERANCE
from tf_mtl.report import table

FILE = "model_card.json"
SIGNATURE_KEYS = {"tasks", "raw", "inputs", "outputs", "variables", "parameters"}
REQUEST = "example_request.json"
_RAW_OUTPUT = "raw output"
_NOT_DECODED = "The model has no task objects: its signatures return outputs as they are, named after their tasks."

_README = """# {name}, version {version}

A multi-task model for TensorFlow Serving. `{file}` holds the same information for programs.

## Tasks
{tasks}

## Results
{metrics}

## Data
{data}

## Signatures
The first axis of every tensor is the batch.

{signatures}

## Requests
`{request}` holds one row. The commands expect a server of the parent folder on its default ports.

    curl -s http://localhost:8501/v1/models/{name}/versions/{version}:predict -d @{request}

```python
{grpc}
```
"""
_GRPC = """import json

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

rows = json.load(open("{request}"))["instances"]
request = predict_pb2.PredictRequest()
request.model_spec.name = "{name}"
request.model_spec.version.value = {version}
request.model_spec.signature_name = "serving_default"
for name, dtype in {dtypes}.items():
    values = [row[name] for row in rows]{decoding}
    request.inputs[name].CopyFrom(tf.make_tensor_proto(values, dtype))
service = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel("localhost:8500"))
for name, value in service.Predict(request, timeout=10).outputs.items():
    print(name, tf.make_ndarray(value).tolist())"""
_DECODING = """
    if isinstance(values[0], dict):  # bytes that are not text
        values = [base64.b64decode(value["b64"]) for value in values]"""


def write(
    folder: Path,
    name: str,
    version: int,
    model: MultiTaskModel,
    endpoints: Sequence[Endpoint],
    example: Mapping[str, np.ndarray],
    metrics: Mapping[str, float] | None,
    data: str | None,
) -> None:
    """Write the model card, the README and the example request into an export's folder.

    Args:
        folder: The version's folder.
        name: The model's name, under which it is served.
        version: The version's number.
        model: The exported model.
        endpoints: The signatures.
        example: Inputs of `serving_default` by name; the first row becomes the example request.
        metrics: Results, as `evaluate` returns them.
        data: The data that the model was trained and tested on.
    """
    card = _card(name, version, model, endpoints, metrics, data)
    (folder / FILE).write_text(json.dumps(card, indent=2, default=_python_value) + "\n", "utf-8")
    row = {key: _json_value(values[0]) for key, values in example.items()}
    request = json.dumps({"signature_name": "serving_default", "instances": [row]})
    (folder / REQUEST).write_text(request + "\n", "utf-8")
    (folder / "README.md").write_text(_readme(card, row), "utf-8")


def _card(name, version, model, endpoints, metrics, data):
    return {
        "name": name,
        "version": version,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "software": {"tf_mtl": __version__, "tensorflow": tf.__version__, "keras": keras.__version__},
        "parameters": model.count_params(),
        "tolerance": _tolerance(model),
        "tasks": [{"kind": type(task).__name__, **task.get_config()} for task in model.tasks]
        or [{"kind": _RAW_OUTPUT, "name": task} for task in model.task_names],
        "note": "" if model.tasks else _NOT_DECODED,
        "metrics": {key: _finite(value) for key, value in (metrics or {}).items()},
        "data": data or "",
        "signatures": {
            endpoint.name: {
                "tasks": list(endpoint.tasks),
                "raw": endpoint.raw,
                "inputs": {key: _spec(spec) for key, spec in endpoint.inputs.items()},
                "outputs": {key: _spec(spec) for key, spec in endpoint.outputs.items()},
                "variables": len(endpoint.weights),
                "parameters": sum(weight.shape.num_elements() for weight in endpoint.weights),
            }
            for endpoint in endpoints
        },
    }


def _readme(card, row):
    tasks = [[task["name"], task["kind"], ", ".join(map(_cell_text, task.get("labels", [])))] for task in card["tasks"]]
    metrics = [[_cell_text(name), value] for name, value in card["metrics"].items()]
    signatures = [
        [name, ", ".join(sig["tasks"]), _listed(sig["inputs"]), _listed(sig["outputs"])]
        for name, sig in card["signatures"].items()
    ]
    dtypes = {key: spec["dtype"] for key, spec in card["signatures"]["serving_default"]["inputs"].items()}
    binary = any(isinstance(value, dict) for value in row.values())
    grpc = _GRPC.format(
        name=card["name"],
        version=card["version"],
        request=REQUEST,
        dtypes=json.dumps(dtypes),
        decoding=_DECODING if binary else "",
    )
    return _README.format(
        name=card["name"],
        version=card["version"],
        file=FILE,
        request=REQUEST,
        tasks="\n\n".join(filter(None, [table(["task", "kind", "labels"], tasks), card["note"]])),
        metrics=table(["metric", "value"], metrics, digits=4) if metrics else "No results were given.",
        data=card["data"] or "No description was given.",
        signatures=table(["signature", "tasks", "inputs", "outputs"], signatures),
        grpc=f"import base64\n{grpc}" if binary else grpc,
    )


def _cell_text(text):
    """Any text, such as a label, as text in one cell of a Markdown table."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "&#124;")


def _listed(specs):
    return ", ".join(
        f"{name}: {spec['dtype']} {spec['shape']}".replace("None", "batch", 1) for name, spec in specs.items()
    )


def _spec(spec):
    return {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}


def _tolerance(model):
    """The largest rounding difference: kernels sum in other orders, and low precision rounds up or down."""
    layers = model._flatten_layers()
    is_low_precision = any("16" in str(x.compute_dtype) or getattr(x, "quantization_mode", None) for x in layers)
    return LOW_PRECISION_TOLERANCE if is_low_precision else TOLERANCE


def _finite(value):
    """A float, or None for NaN and infinity, which JSON does not have."""
    return float(value) if np.isfinite(value) else None


def _json_value(value):
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, np.ndarray) and value.ndim:
        return [_json_value(item) for item in value]
    return _python_value(value)


def _python_value(value):
    """A NumPy scalar as a Python number; anything else as text."""
    return value.item() if isinstance(value, np.generic) else str(value)
