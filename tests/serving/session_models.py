"""Models loaded with the session loader of TensorFlow 1, with a server's checks of requests.

This is not TensorFlow Serving: its codes and messages for bad requests are imitated, to test clients and the contract
of exports where the real server is not available.
"""

import threading
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

DEFAULT = "serving_default"
CODES = {code.value[0]: code.name for code in grpc.StatusCode}


class Refused(Exception):
    """A bad request: the name of a gRPC status code, and the reason."""

    def __init__(self, code, reason):
        super().__init__(reason)
        self.code = code


class Version:
    """One version's signatures."""

    def __init__(self, number, path):
        self.number = number
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            self.meta = tf.compat.v1.saved_model.load(self.session, ["serve"], str(path))
        self._callables = {}
        self._lock = threading.Lock()

    def signature(self, name):
        if name not in self.meta.signature_def:
            raise Refused("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
        return self.meta.signature_def[name]

    def run(self, name, inputs, wanted=()):
        """Return a signature's outputs, all or only those in `wanted`, by name, from arrays by name."""
        name = name or DEFAULT
        signature = self.signature(name)
        sent, needed = set(inputs), set(signature.inputs)
        if len(sent) != len(needed):
            raise Refused(
                "INVALID_ARGUMENT",
                f"input size does not match signature: {len(sent)}!={len(needed)}. Sent extra: {_set(sent - needed)}. "
                f"Missing but required: {_set(needed - sent)}.",
            )
        for key in sent - needed:
            raise Refused(
                "INVALID_ARGUMENT",
                f"input tensor alias not found in signature: {key}. Inputs expected to be in the set {_set(needed)}.",
            )
        for key in wanted:
            if key not in signature.outputs:
                raise Refused(
                    "INVALID_ARGUMENT",
                    f"output tensor alias not found in signature: {key} Outputs expected to be in the set "
                    f"{_set(signature.outputs)}.",
                )
        names = tuple(wanted) or tuple(sorted(signature.outputs))
        order = sorted(needed)
        try:
            values = self._callable(name, order, names)(*(inputs[key] for key in order))
        except tf.errors.OpError as error:
            raise Refused(CODES[error.error_code], error.message) from error
        return dict(zip(names, values, strict=True))

    def _callable(self, name, order, names):
        """A callable with the session's own checks; `Session.run` casts and checks its inputs in Python first."""
        with self._lock:
            if (name, names) not in self._callables:
                signature = self.signature(name)
                fetches = [signature.outputs[key].name for key in names]
                feeds = [signature.inputs[key].name for key in order]
                options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
                self._callables[name, names] = self.session._make_callable_from_options(options)
            return self._callables[name, names]


class Models:
    """All versions in the folders of some models; a model has the name of its folder."""

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
            raise Refused("INVALID_ARGUMENT", "ModelSpec has no name specified.")
        versions = self.versions.get(name, {})
        wanted = f"Latest({name})" if number is None else f"Specific({name}, {number})"
        if number is None:
            number = max(versions, default=None)
        if number not in versions:
            raise Refused("NOT_FOUND", f"Servable not found for request: {wanted}")
        return versions[number]


def _set(names):
    return "{" + ",".join(sorted(names)) + "}"
