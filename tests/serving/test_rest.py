"""Exports served by TensorFlow Serving's REST interface, in the substitute server of `session_server.py`."""

import base64

import numpy as np
import pytest
import tensorflow as tf
from serving_client import columns, post
from serving_models import TENSOR_SIGNATURES, TEXT_SIGNATURES, answers, assert_same

TEXTS = ["good ship", "", "très 好 🚢", 'very "bad"\n late\\']
BAD_REQUESTS = {
    "unknown model": ({"instances": TEXTS}, {"model": "other"}, 404, "Latest(other)"),
    "unknown version": ({"instances": TEXTS}, {"suffix": "/versions/7"}, 404, "Specific(words, 7)"),
    "unknown signature": ({"signature_name": "price", "instances": TEXTS}, {}, 400, '"price" not found'),
    "unknown input": ({"instances": [{"texts": "good"}]}, {}, 400, "in the set {text}"),
    "no instances": ({"text": TEXTS}, {}, 400, "instances"),
    "not JSON": (b"good ship", {}, 400, "JSON"),
    "numbers for texts": ({"instances": [1, 2]}, {}, 400, "element"),
    "an id out of range": ({"signature_name": "tensors", "instances": [[99] * 8]}, {}, 400, "99 is not in"),
}


@pytest.fixture(scope="module")
def expected(words):
    return answers(words.model, words.preprocessor, TEXTS)


@pytest.mark.parametrize("signature", TEXT_SIGNATURES)
def test_outputs_for_texts(server, expected, signature):
    for rows in (TEXTS, [{"text": text} for text in TEXTS]):
        code, response = post(server, {"signature_name": signature, "instances": rows})
        assert code == 200
        outputs = columns(response["predictions"])
        assert set(outputs) == TEXT_SIGNATURES[signature]
        for name, value in outputs.items():
            assert_same(value, expected[name])


@pytest.mark.parametrize("signature", TENSOR_SIGNATURES)
def test_outputs_for_tensors(server, words, expected, signature):
    ids = np.asarray(words.preprocessor(tf.constant(TEXTS))).tolist()
    code, response = post(server, {"signature_name": signature, "instances": [{"ids": row} for row in ids]})
    assert code == 200
    outputs = columns(response["predictions"])
    assert set(outputs) == TENSOR_SIGNATURES[signature]
    for name, value in outputs.items():
        assert_same(value, expected[name])


def test_bytes_are_sent_to_a_named_version(server, expected):
    rows = [{"text": {"b64": base64.b64encode(text.encode()).decode()}} for text in TEXTS]
    code, response = post(server, {"instances": rows}, suffix="/versions/1")
    assert code == 200
    assert_same(columns(response["predictions"])["stars_raw"], expected["stars_raw"])


def test_vectors_give_all_outputs(server, vectors):
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    _, response = post(server, {"instances": x.tolist()}, model="vectors")
    outputs = columns(response["predictions"])
    for task, parts in vectors.model.decode(vectors.model.predict(x, verbose=0)).items():
        for key, value in parts.items():
            assert_same(outputs[f"{task}_{key}"], value)


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_bad_requests_are_refused_and_the_server_keeps_running(server, expected, case):
    content, address, expected_code, reason = BAD_REQUESTS[case]
    code, response = post(server, content, **address)
    assert code == expected_code
    assert reason in response["error"]
    assert server.process.poll() is None
    _, response = post(server, {"instances": TEXTS})
    assert_same(columns(response["predictions"])["stars_raw"], expected["stars_raw"])
