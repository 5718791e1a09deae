"""A substitute for TensorFlow Serving: its gRPC and REST interfaces for prediction, on top of the session loader.

It tests exports and their clients, NOT the real server: not its C++ code, its batching, or how it loads versions.
Run as `session_server.py FOLDER...`; it prints its two ports on the loopback interface as JSON.
"""

import base64
import concurrent.futures
import contextlib
import http.server
import json
import re
import sys
import threading

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import any_pb2
from session_models import Models, RequestError
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

HTTP_CODES = {"INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "NOT_FOUND": 404}
ADDRESS = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?:predict")


class Grpc(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata."""

    def __init__(self, models):
        self.models = models

    def Predict(self, request, context):
        with _errors_as_statuses(context):
            version = self._version(request)
            inputs = {}
            for name, proto in request.inputs.items():
                try:
                    inputs[name] = tf.make_ndarray(proto)
                except (TypeError, ValueError) as error:
                    raise RequestError("INVALID_ARGUMENT", f"tensor parsing error: {name}") from error
            signature = request.model_spec.signature_name
            response = predict_pb2.PredictResponse()
            for name, value in version.run(signature, inputs, request.output_filter).items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = version.number
            response.model_spec.signature_name = signature or "serving_default"
            return response

    def GetModelMetadata(self, request, context):
        with _errors_as_statuses(context):
            if list(request.metadata_field) != ["signature_def"]:
                raise RequestError(
                    "INVALID_ARGUMENT", f"Metadata fields {list(request.metadata_field)} are not supported"
                )
            version = self._version(request)
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for name, signature in version.meta.signature_def.items():
                signatures.signature_def[name].CopyFrom(signature)
            response, packed = get_model_metadata_pb2.GetModelMetadataResponse(), any_pb2.Any()
            packed.Pack(signatures)
            response.metadata["signature_def"].CopyFrom(packed)
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = version.number
            return response

    def _version(self, request):
        spec = request.model_spec
        return self.models.version(spec.name, spec.version.value if spec.HasField("version") else None)


class Rest(http.server.BaseHTTPRequestHandler):
    """POST .../NAME[/versions/N]:predict, with one row per instance."""

    models: Models

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        address = ADDRESS.fullmatch(self.path)
        if not address:
            return self._send(404, {"error": f"Malformed request: POST {self.path}"})
        try:
            return self._send(200, {"predictions": self._predict(body, *address.groups())})
        except RequestError as error:
            return self._send(HTTP_CODES.get(error.code, 500), {"error": str(error)})

    def _predict(self, body, name, number):
        version = self.models.version(name, number and int(number))
        try:
            request = json.loads(body)
            rows = request["instances"]
            name = request.get("signature_name", "serving_default")
            infos = version.signature(name).inputs
            if not isinstance(rows[0], dict) or "b64" in rows[0]:
                (input_name,) = infos
                rows = [{input_name: row} for row in rows]
            inputs = {key: _array([row[key] for row in rows], infos.get(key)) for key in rows[0]}
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise RequestError("INVALID_ARGUMENT", f"Failed to process element: {error!r}") from error
        outputs = version.run(name, inputs)
        columns = {key: [_json_value(value) for value in values] for key, values in outputs.items()}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return rows if len(columns) > 1 else [next(iter(row.values())) for row in rows]

    def _send(self, code, response):
        body = json.dumps(response, indent=1).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def _errors_as_statuses(context):
    try:
        yield
    except RequestError as error:
        context.abort(grpc.StatusCode[error.code], str(error))


def _array(values, info):
    if info is None or tf.as_dtype(info.dtype) != tf.string:
        return np.array(values, None if info is None else tf.as_dtype(info.dtype).as_numpy_dtype)
    return np.array([base64.b64decode(x["b64"]) if isinstance(x, dict) else x.encode() for x in values], object)


def _json_value(value):
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(value, list):
        return [_json_value(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value


def main(folders):
    with contextlib.suppress(ImportError):
        import tensorflow_text  # noqa: F401  # registers ops that TensorFlow Serving has, too
    models = Models(folders)
    service = grpc.server(concurrent.futures.ThreadPoolExecutor(16))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Grpc(models), service)
    port = service.add_insecure_port("127.0.0.1:0")
    service.start()
    rest = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Rest,), {"models": models}))
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    print(json.dumps({"grpc": port, "rest": rest.server_port}), flush=True)
    service.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1:])
