"""Models loaded with TensorFlow 1's session loader, which check requests as a server does.

This is not TensorFlow Serving. It imitates the codes and messages for bad requests, so that clients and exports are
tested where the real server is not available.
"""

import threading
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

DEFAULT = "serving_default"
CODES = {code.value[0]: code.name for code in grpc.StatusCode}


class RequestError(Exception):
    """A bad request: the name of a gRPC status code, and the reason."""

    def __init__(self, code, reason):
        super().__init__(reason)
        self.code = code


class Version:
    """One version of a model, with its signatures."""

    def __init__(self, number, path):
        self.number = number
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            self.meta = tf.compat.v1.saved_model.load(self.session, ["serve"], str(path))
        self._callables = {}
        self._lock = threading.Lock()

    def signature(self, name):
        if name not in self.meta.signature_def:
            raise RequestError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
        return self.meta.signature_def[name]

    def run(self, name, inputs, output_names=()):
        """Return a signature's outputs by name, all or only those in `output_names`, for inputs by name."""
        name = name or DEFAULT
        signature = self.signature(name)
        sent, required = set(inputs), set(signature.inputs)
        if len(sent) != len(required):
            raise RequestError(
                "INVALID_ARGUMENT",
                f"input size does not match signature: {len(sent)}!={len(required)}. Sent extra: "
                f"{_braced(sent - required)}. Missing but required: {_braced(required - sent)}.",
            )
        for key in sent - required:
            raise RequestError(
                "INVALID_ARGUMENT",
                f"input tensor alias not found in signature: {key}. Inputs expected to be in the set "
                f"{_braced(required)}.",
            )
        for key in output_names:
            if key not in signature.outputs:
                raise RequestError(
                    "INVALID_ARGUMENT",
                    f"output tensor alias not found in signature: {key} Outputs expected to be in the set "
                    f"{_braced(signature.outputs)}.",
                )
        names = tuple(output_names) or tuple(sorted(signature.outputs))
        input_names = sorted(required)
        try:
            values = self._callable(name, input_names, names)(*(inputs[key] for key in input_names))
        except tf.errors.OpError as error:
            raise RequestError(CODES[error.error_code], error.message) from error
        return dict(zip(names, values, strict=True))

    def _callable(self, name, input_names, names):
        """A callable with the session's C++ checks only; `Session.run` casts and checks its inputs in Python first."""
        with self._lock:
            if (name, names) not in self._callables:
                signature = self.signature(name)
                fetches = [signature.outputs[key].name for key in names]
                feeds = [signature.inputs[key].name for key in input_names]
                options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
                self._callables[name, names] = self.session._make_callable_from_options(options)
            return self._callables[name, names]


class Models:
    """All versions of some models. Each model has a folder of versions, and the folder's name."""

    def __init__(self, folders):
        self.versions = {
            Path(folder).name: {
                int(path.name): Version(int(path.name), path) for path in Path(folder).iterdir() if path.name.isdigit()
            }
            for folder in folders
        }

    def version(self, name, number=None):
        """Return a version of a model, by default the newest."""
        if not name:
            raise RequestError("INVALID_ARGUMENT", "ModelSpec has no name specified.")
        versions = self.versions.get(name, {})
        servable = f"Latest({name})" if number is None else f"Specific({name}, {number})"
        if number is None:
            number = max(versions, default=None)
        if number not in versions:
            raise RequestError("NOT_FOUND", f"Servable not found for request: {servable}")
        return versions[number]


def _braced(names):
    return "{" + ",".join(sorted(names)) + "}"
