"""Requests to the test server by gRPC and by REST."""

import json
import urllib.error
import urllib.request

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def stub(server):
    return prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(f"127.0.0.1:{server.grpc}"))


def request(signature, inputs, model="words", version=None, outputs=()):
    message = predict_pb2.PredictRequest()
    message.model_spec.name = model
    message.model_spec.signature_name = signature
    if version is not None:
        message.model_spec.version.value = version
    for name, values in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    message.output_filter.extend(outputs)
    return message


def arrays(response):
    return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}


def post(server, content, model="words", suffix=""):
    """Send `content`, bytes or what becomes JSON, and return the HTTP code and the decoded JSON response."""
    address = f"http://127.0.0.1:{server.rest}/v1/models/{model}{suffix}:predict"
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(address, body), timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def columns(rows):
    """Return the rows of a REST response as arrays by name."""
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}
