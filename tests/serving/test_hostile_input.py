"""Every input is answered or refused, and changes no answer for other rows."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_models import LABELS, LENGTH, TENSOR_SIGNATURES, TEXT_SIGNATURES
from session_models import RequestError, Version

HARMLESS = b"very good ship, not late"
MEGABYTE = 1 << 20
TEXTS = {
    "empty": b"",
    "only whitespace": b" \t\n\r\x0b\x0c " * 50,
    "a long word": b"good" * (MEGABYTE // 4),
    "many words": b"good, " * (MEGABYTE // 6),
    "many accents": "e\u0301".encode() * (MEGABYTE // 3),
    "invalid UTF-8": b"\xff\xfe\x80good\xc3(",
    "surrogates": b"\xed\xa0\x80\xed\xb0\x80 good",
    "cut character": b"good \xf0\x9f\x9a",
    "invalid and long": b"\x80" * MEGABYTE,
    "overlong and beyond Unicode": b"\xc0\x80 \xf4\x90\x80\x80 \xf8\x88\x80\x80\x80",
    "NUL bytes": b"\0good\0ship\0",
    "control characters": bytes(range(32)) + b"\x7f" + "\x85\u2028\ufeff\u200b".encode(),
    "right to left": "سفينة جيدة \u202egood\u202c".encode(),
    "emoji": "👩‍👩‍👧‍👦🏴󠁧󠁢󠁥󠁮󠁧󠁿 ship 🇺🇳".encode(),
    "noncharacters": "\ufffe\uffff\U0010ffff".encode(),
    "special tokens": b"[CLS] [SEP] [PAD] [UNK] [MASK] ##s",
}


@pytest.fixture(scope="module", params=["words", "pieces"])
def loaded(request):
    if request.param == "pieces":
        import tensorflow_text  # noqa: F401  # registers ops that TensorFlow Serving has, too
    return Version(1, request.getfixturevalue(request.param).path)


@pytest.fixture(scope="module")
def loaded_words(words):
    return Version(1, words.path)


@pytest.fixture(scope="module")
def loaded_vectors(vectors):
    return Version(1, vectors.path)


def ask(version, texts, signature="serving_default"):
    return version.run(signature, {"text": np.array(texts, object)})


def assert_valid(outputs, rows):
    """Assert that shapes are correct, labels are the task's, scores are in [0, 1] and values are within the limits."""
    for name, value in outputs.items():
        task, part = name.split("_")
        assert value.shape == ((rows, 2) if task == "tags" else (rows,))
        if part in ("label", "labels"):
            assert {label.decode() for label in value.ravel()} <= {*LABELS[task], *([""] if task == "tags" else [])}
        else:
            assert np.isfinite(value).all()
        if part in ("score", "scores"):
            assert ((value >= 0) & (value <= 1)).all()
        if part == "value":
            assert ((value >= 1) & (value <= 5)).all()


def assert_close(actual, expected):
    """Assert that numbers agree to 1e-5, and labels are equal except where a score is within 1e-4 of the threshold."""
    for name, value in expected.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(actual[name], value, rtol=1e-5, atol=1e-5)
        elif name == "topic_label" or (np.abs(expected[name.replace("label", "score")] - 0.5) > 1e-4).all():
            assert actual[name].tolist() == value.tolist()


def row(outputs, i):
    return {name: value[i : i + 1] for name, value in outputs.items()}


@pytest.mark.parametrize("case", TEXTS)
def test_a_hostile_text_is_answered_and_changes_no_other_row(loaded, case):
    harmless, hostile = ask(loaded, [HARMLESS]), ask(loaded, [TEXTS[case]])
    outputs = ask(loaded, [HARMLESS, TEXTS[case], HARMLESS])
    assert_valid(outputs, 3)
    assert_close(row(outputs, 0), harmless)
    assert_close(row(outputs, 1), hostile)
    assert_close(row(outputs, 2), harmless)


def test_every_signature_answers_a_batch_of_all_hostile_texts(loaded):
    texts = [*TEXTS.values(), HARMLESS]
    expected = ask(loaded, texts)
    for signature, names in TEXT_SIGNATURES.items():
        outputs = ask(loaded, texts, signature)
        assert set(outputs) == names
        assert_valid(outputs, len(texts))
        assert_close(outputs, {name: expected[name] for name in names})


@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_batches_of_any_size(loaded, rows):
    texts = [HARMLESS if i % 2 == 0 else b"bad" for i in range(rows)]
    outputs = ask(loaded, texts)
    assert_valid(outputs, rows)
    for i in {0, rows - 1} & set(range(rows)):
        assert_close(row(outputs, i), ask(loaded, texts[i : i + 1]))


@pytest.mark.parametrize("shape", [(), (2, 2), (1, 1), (2, 0)])
def test_texts_must_have_one_axis(loaded, shape):
    with pytest.raises(RequestError) as error:
        ask(loaded, np.full(shape, HARMLESS, object))
    assert error.value.code == "INVALID_ARGUMENT"


@pytest.mark.parametrize("token", [8, 99, 2**31 - 1, -9, -(2**31)])
def test_ids_out_of_range_are_refused(loaded_words, token):
    ids = np.ones((2, LENGTH), "int32")
    expected = loaded_words.run("tensors", {"ids": ids})
    ids[1, 3] = token
    for signature in TENSOR_SIGNATURES:
        with pytest.raises(RequestError, match=f"{token}|out of range|not in") as error:
            loaded_words.run(signature, {"ids": ids})
        assert error.value.code == "INVALID_ARGUMENT"
    assert_close(loaded_words.run("tensors", {"ids": np.ones((2, LENGTH), "int32")}), expected)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 3.4e38, 1e-45])
def test_extreme_numbers_change_no_other_row(loaded_vectors, number):
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    expected = loaded_vectors.run("serving_default", {"x": x})
    x[2, 1] = number
    outputs = loaded_vectors.run("serving_default", {"x": x})
    for i in (0, 1, 3, 4):
        assert_close(row(outputs, i), row(expected, i))
    for name, value in outputs.items():
        assert value.shape == expected[name].shape


TEXT = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(str.encode),
    st.lists(st.sampled_from(["good", "ship", "late", ",", "\0", "好", " "]), max_size=12).map("".join).map(str.encode),
)
HOSTILE = settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@HOSTILE
@given(texts=st.lists(TEXT, max_size=5), index=st.integers(0, 5))
def test_random_texts_get_the_same_answers_in_a_batch_as_singly(loaded, texts, index):
    index = min(index, len(texts))
    texts = [*texts[:index], HARMLESS, *texts[index:]]
    outputs = ask(loaded, texts)
    assert_valid(outputs, len(texts))
    for i, text in enumerate(texts):
        assert_close(row(outputs, i), ask(loaded, [text]))
