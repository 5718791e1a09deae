"""Exports behind the gRPC interface of TensorFlow Serving, with the substitute server of `session_server.py`."""

import re

import grpc
import numpy as np
import pytest
import tensorflow as tf
from serving_client import arrays, request, stub
from serving_models import ALL, FROM_TENSORS, FROM_TEXT, answers, assert_same
from tensorflow_serving.apis import get_model_metadata_pb2

TEXTS = ["good ship", "very very bad, late", "", "très 好", "not good not bad"]
REFUSED = {
    "unknown model": (request("", {"text": TEXTS}, model="other"), "NOT_FOUND", r"Latest\(other\)"),
    "unknown version": (request("", {"text": TEXTS}, version=7), "NOT_FOUND", r"Specific\(words, 7\)"),
    "no model": (request("", {"text": TEXTS}, model=""), "INVALID_ARGUMENT", "no name"),
    "unknown signature": (request("price", {"text": TEXTS}), "FAILED_PRECONDITION", '"price" not found'),
    "missing input": (request("", {}), "INVALID_ARGUMENT", "required: {text}"),
    "additional input": (request("", {"text": TEXTS, "id": [1]}), "INVALID_ARGUMENT", "extra: {id}"),
    "unknown input": (request("", {"texts": TEXTS}), "INVALID_ARGUMENT", "in the set {text}"),
    "numbers for texts": (request("", {"text": np.ones(2, "int32")}), "INVALID_ARGUMENT", "string"),
    "wide integers": (request("tensors", {"ids": np.ones((2, 8), "int64")}), "INVALID_ARGUMENT", "int32"),
    "texts in two axes": (
        request("", {"text": [TEXTS, TEXTS]}),
        "INVALID_ARGUMENT",
        "not compatible with expected shape",
    ),
    "short rows": (
        request("tensors", {"ids": np.ones((2, 3), "int32")}),
        "INVALID_ARGUMENT",
        "not compatible with expected shape",
    ),
    "unknown output": (request("", {"text": TEXTS}, only=["price"]), "INVALID_ARGUMENT", "topic_label"),
}


@pytest.fixture(scope="module")
def expected(words):
    return answers(words.model, words.preprocessor, TEXTS)


def test_signatures_for_texts_answer_as_the_model(server, expected):
    for signature, outputs in FROM_TEXT.items():
        answer = stub(server).Predict(request(signature, {"text": TEXTS}), timeout=60)
        assert (answer.model_spec.version.value, answer.model_spec.signature_name) == (1, signature)
        assert set(answer.outputs) == outputs
        for name, value in arrays(answer).items():
            assert_same(value, expected[name])


def test_signatures_for_tensors_answer_as_the_model(server, words, expected):
    ids = np.asarray(words.preprocessor(tf.constant(TEXTS)), "int32")
    for signature, outputs in FROM_TENSORS.items():
        found = arrays(stub(server).Predict(request(signature, {"ids": ids}), timeout=60))
        assert set(found) == outputs
        for name, value in found.items():
            assert_same(value, expected[name])


def test_only_the_outputs_asked_for_are_sent(server, expected):
    only = ["stars_raw", "topic_label"]
    found = arrays(stub(server).Predict(request("", {"text": TEXTS}, only=only), timeout=60))
    assert set(found) == set(only)
    assert_same(found["stars_raw"], expected["stars_raw"])


def test_no_rows_are_answered_with_no_rows(server):
    for signature in FROM_TEXT:
        answer = stub(server).Predict(request(signature, {"text": np.zeros(0, object)}), timeout=60)
        assert {value.shape[0] for value in arrays(answer).values()} == {0}
    for signature in FROM_TENSORS:
        answer = stub(server).Predict(request(signature, {"ids": np.zeros((0, 8), "int32")}), timeout=60)
        assert {value.shape[0] for value in arrays(answer).values()} == {0}


def test_metadata_tell_every_signatures_tensors(server):
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = "words"
    answer = stub(server).GetModelMetadata(asked, timeout=60)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    answer.metadata["signature_def"].Unpack(signatures)
    found = {name: sig for name, sig in signatures.signature_def.items() if not name.startswith("__")}
    assert {name: set(signature.outputs) for name, signature in found.items()} == {**FROM_TEXT, **FROM_TENSORS}
    for name, signature in found.items():
        assert set(signature.inputs) == ({"text"} if name in FROM_TEXT else {"ids"})
        assert signature.method_name == "tensorflow/serving/predict"
        for info in [*signature.inputs.values(), *signature.outputs.values()]:
            assert info.tensor_shape.dim[0].size == -1
    assert found["tags"].outputs["tags_labels"].dtype == tf.string.as_datatype_enum
    assert {name for name, info in found["serving_default"].outputs.items() if info.dtype == tf.float32} < ALL


@pytest.mark.parametrize("case", REFUSED)
def test_bad_requests_are_refused_and_the_server_lives(server, expected, case):
    asked, code, reason = REFUSED[case]
    with pytest.raises(grpc.RpcError) as error:
        stub(server).Predict(asked, timeout=60)
    assert error.value.code() == grpc.StatusCode[code]
    assert re.search(reason, error.value.details())
    assert server.process.poll() is None
    found = arrays(stub(server).Predict(request("", {"text": TEXTS}), timeout=60))
    assert_same(found["stars_raw"], expected["stars_raw"])


def test_a_thousand_requests_at_once_each_get_their_own_answer(server, words):
    texts = [f"{one} {two} {three}" for one in ("good", "bad") for two in ("ship", "late", "not") for three in range(4)]
    texts = [text + " very" * (i % 5) for i, text in enumerate(texts)]
    right = answers(words.model, words.preprocessor, texts)
    service = stub(server)
    pairs = [(i % len(texts), (7 * i + 3) % len(texts)) for i in range(1000)]
    calls = [
        service.Predict.future(request("serving_default", {"text": [texts[i] for i in pair]}), timeout=120)
        for pair in pairs
    ]
    for pair, call in zip(pairs, calls, strict=True):
        for name, value in arrays(call.result()).items():
            assert_same(value, right[name][list(pair)])
    assert server.process.poll() is None
    assert service.Predict(request("", {"text": TEXTS}), timeout=60).outputs
