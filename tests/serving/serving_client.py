"""Requests to the tests' server, by gRPC and by REST."""

import json
import urllib.error
import urllib.request

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def stub(server):
    return prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(f"127.0.0.1:{server.grpc}"))


def request(signature, inputs, model="words", version=None, only=()):
    sent = predict_pb2.PredictRequest()
    sent.model_spec.name = model
    sent.model_spec.signature_name = signature
    if version is not None:
        sent.model_spec.version.value = version
    for name, values in inputs.items():
        sent.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    sent.output_filter.extend(only)
    return sent


def arrays(answer):
    return {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}


def post(server, asked, model="words", suffix=""):
    """Return the HTTP code and the content of the JSON response."""
    address = f"http://127.0.0.1:{server.rest}/v1/models/{model}{suffix}:predict"
    body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(address, body), timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def columns(rows):
    """Return REST's rows as arrays by name."""
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}
