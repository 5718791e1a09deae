"""Exports behind the REST interface of TensorFlow Serving, with the substitute server of `session_server.py`."""

import base64

import numpy as np
import pytest
import tensorflow as tf
from serving_client import columns, post
from serving_models import FROM_TENSORS, FROM_TEXT, answers, assert_same

TEXTS = ["good ship", "", "très 好 🚢", 'very "bad"\n late\\']
REFUSED = {
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


@pytest.mark.parametrize("signature", FROM_TEXT)
def test_outputs_keep_their_names_from_texts(server, expected, signature):
    for rows in (TEXTS, [{"text": text} for text in TEXTS]):
        code, answer = post(server, {"signature_name": signature, "instances": rows})
        assert code == 200
        found = columns(answer["predictions"])
        assert set(found) == FROM_TEXT[signature]
        for name, value in found.items():
            assert_same(value, expected[name])


@pytest.mark.parametrize("signature", FROM_TENSORS)
def test_outputs_keep_their_names_from_tensors(server, words, expected, signature):
    ids = np.asarray(words.preprocessor(tf.constant(TEXTS))).tolist()
    code, answer = post(server, {"signature_name": signature, "instances": [{"ids": row} for row in ids]})
    assert code == 200
    found = columns(answer["predictions"])
    assert set(found) == FROM_TENSORS[signature]
    for name, value in found.items():
        assert_same(value, expected[name])


def test_a_version_can_be_named_and_bytes_sent(server, expected):
    rows = [{"text": {"b64": base64.b64encode(text.encode()).decode()}} for text in TEXTS]
    code, answer = post(server, {"instances": rows}, suffix="/versions/1")
    assert code == 200
    assert_same(columns(answer["predictions"])["stars_raw"], expected["stars_raw"])


def test_vectors_are_answered_with_all_outputs(server, vectors):
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    _, answer = post(server, {"instances": x.tolist()}, model="vectors")
    found = columns(answer["predictions"])
    for task, parts in vectors.model.decode(vectors.model.predict(x, verbose=0)).items():
        for key, value in parts.items():
            assert_same(found[f"{task}_{key}"], value)


@pytest.mark.parametrize("case", REFUSED)
def test_bad_requests_are_refused_and_the_server_lives(server, expected, case):
    asked, where, code, reason = REFUSED[case]
    found, answer = post(server, asked, **where)
    assert found == code
    assert reason in answer["error"]
    assert server.process.poll() is None
    _, answer = post(server, {"instances": TEXTS})
    assert_same(columns(answer["predictions"])["stars_raw"], expected["stars_raw"])
