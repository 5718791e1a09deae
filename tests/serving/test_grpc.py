"""Exports served by TensorFlow Serving's gRPC interface, in the substitute server of `session_server.py`."""

import re

import grpc
import numpy as np
import pytest
import tensorflow as tf
from serving_client import arrays, request, stub
from serving_models import ALL_OUTPUTS, TENSOR_SIGNATURES, TEXT_SIGNATURES, answers, assert_same
from tensorflow_serving.apis import get_model_metadata_pb2

TEXTS = ["good ship", "very very bad, late", "", "très 好", "not good not bad"]
BAD_REQUESTS = {
    "unknown model": (request("", {"text": TEXTS}, model="other"), "NOT_FOUND", r"Latest\(other\)"),
    "unknown version": (request("", {"text": TEXTS}, version=7), "NOT_FOUND", r"Specific\(words, 7\)"),
    "no model": (request("", {"text": TEXTS}, model=""), "INVALID_ARGUMENT", "no name"),
    "unknown signature": (request("price", {"text": TEXTS}), "FAILED_PRECONDITION", '"price" not found'),
    "missing input": (request("", {}), "INVALID_ARGUMENT", "required: {text}"),
    "additional input": (request("", {"text": TEXTS, "id": [1]}), "INVALID_ARGUMENT", "extra: {id}"),
    "unknown input": (request("", {"texts": TEXTS}), "INVALID_ARGUMENT", "in the set {text}"),
    "numbers for texts": (request("", {"text": np.ones(2, "int32")}), "INVALID_ARGUMENT", "string"),
    "wide integers": (request("tensors", {"ids": np.ones((2, 8), "int64")}), "INVALID_ARGUMENT", "int32"),
    "texts with two axes": (
        request("", {"text": [TEXTS, TEXTS]}),
        "INVALID_ARGUMENT",
        "not compatible with expected shape",
    ),
    "short rows": (
        request("tensors", {"ids": np.ones((2, 3), "int32")}),
        "INVALID_ARGUMENT",
        "not compatible with expected shape",
    ),
    "unknown output": (request("", {"text": TEXTS}, outputs=["price"]), "INVALID_ARGUMENT", "topic_label"),
}


@pytest.fixture(scope="module")
def expected(words):
    return answers(words.model, words.preprocessor, TEXTS)


@pytest.mark.slow
def test_text_signatures_equal_the_model(server, expected):
    for signature, names in TEXT_SIGNATURES.items():
        response = stub(server).Predict(request(signature, {"text": TEXTS}), timeout=60)
        assert (response.model_spec.version.value, response.model_spec.signature_name) == (1, signature)
        assert set(response.outputs) == names
        for name, value in arrays(response).items():
            assert_same(value, expected[name])


def test_tensor_signatures_equal_the_model(server, words, expected):
    ids = np.asarray(words.preprocessor(tf.constant(TEXTS)), "int32")
    for signature, names in TENSOR_SIGNATURES.items():
        outputs = arrays(stub(server).Predict(request(signature, {"ids": ids}), timeout=60))
        assert set(outputs) == names
        for name, value in outputs.items():
            assert_same(value, expected[name])


def test_only_requested_outputs_are_returned(server, expected):
    names = ["stars_raw", "topic_label"]
    outputs = arrays(stub(server).Predict(request("", {"text": TEXTS}, outputs=names), timeout=60))
    assert set(outputs) == set(names)
    assert_same(outputs["stars_raw"], expected["stars_raw"])


def test_an_empty_batch_gives_empty_outputs(server):
    for signature in TEXT_SIGNATURES:
        response = stub(server).Predict(request(signature, {"text": np.zeros(0, object)}), timeout=60)
        assert {value.shape[0] for value in arrays(response).values()} == {0}
    for signature in TENSOR_SIGNATURES:
        response = stub(server).Predict(request(signature, {"ids": np.zeros((0, 8), "int32")}), timeout=60)
        assert {value.shape[0] for value in arrays(response).values()} == {0}


def test_metadata_contain_every_signatures_tensors(server):
    metadata_request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata_request.model_spec.name = "words"
    response = stub(server).GetModelMetadata(metadata_request, timeout=60)
    signature_map = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signature_map)
    signatures = {
        name: signature for name, signature in signature_map.signature_def.items() if not name.startswith("__")
    }
    assert {name: set(signature.outputs) for name, signature in signatures.items()} == {
        **TEXT_SIGNATURES,
        **TENSOR_SIGNATURES,
    }
    for name, signature in signatures.items():
        assert set(signature.inputs) == ({"text"} if name in TEXT_SIGNATURES else {"ids"})
        assert signature.method_name == "tensorflow/serving/predict"
        for info in [*signature.inputs.values(), *signature.outputs.values()]:
            assert info.tensor_shape.dim[0].size == -1
    assert signatures["tags"].outputs["tags_labels"].dtype == tf.string.as_datatype_enum
    assert {
        name for name, info in signatures["serving_default"].outputs.items() if info.dtype == tf.float32
    } < ALL_OUTPUTS


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_bad_requests_are_refused_and_the_server_keeps_running(server, expected, case):
    bad_request, code, reason = BAD_REQUESTS[case]
    with pytest.raises(grpc.RpcError) as error:
        stub(server).Predict(bad_request, timeout=60)
    assert error.value.code() == grpc.StatusCode[code]
    assert re.search(reason, error.value.details())
    assert server.process.poll() is None
    outputs = arrays(stub(server).Predict(request("", {"text": TEXTS}), timeout=60))
    assert_same(outputs["stars_raw"], expected["stars_raw"])


def test_a_thousand_concurrent_requests_each_get_their_own_answer(server, words):
    texts = [f"{one} {two} {three}" for one in ("good", "bad") for two in ("ship", "late", "not") for three in range(4)]
    texts = [text + " very" * (i % 5) for i, text in enumerate(texts)]
    expected = answers(words.model, words.preprocessor, texts)
    service = stub(server)
    pairs = [(i % len(texts), (7 * i + 3) % len(texts)) for i in range(1000)]
    calls = [
        service.Predict.future(request("serving_default", {"text": [texts[i] for i in pair]}), timeout=120)
        for pair in pairs
    ]
    for pair, call in zip(pairs, calls, strict=True):
        for name, value in arrays(call.result()).items():
            assert_same(value, expected[name][list(pair)])
    assert server.process.poll() is None
    assert service.Predict(request("", {"text": TEXTS}), timeout=60).outputs
