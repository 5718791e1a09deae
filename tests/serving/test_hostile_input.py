"""Every input is answered or refused, and does not change the answers of other rows."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_models import FROM_TENSORS, FROM_TEXT, LABELS, LENGTH
from session_models import Refused, Version

HARMLESS = b"very good ship, not late"
MEGABYTE = 1 << 20
TEXTS = {
    "empty": b"",
    "only space": b" \t\n\r\x0b\x0c " * 50,
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
    "no characters": "\ufffe\uffff\U0010ffff".encode(),
    "special tokens": b"[CLS] [SEP] [PAD] [UNK] [MASK] ##s",
}


@pytest.fixture(scope="module", params=["words", "pieces"])
def loaded(request):
    if request.param == "pieces":
        import tensorflow_text  # noqa: F401  # whose ops TensorFlow Serving has
    return Version(1, request.getfixturevalue(request.param).path)


@pytest.fixture(scope="module")
def loaded_words(words):
    return Version(1, words.path)


@pytest.fixture(scope="module")
def loaded_vectors(vectors):
    return Version(1, vectors.path)


def ask(version, texts, signature="serving_default"):
    return version.run(signature, {"text": np.array(texts, object)})


def assert_proper(found, rows):
    """Assert numbers of rows, labels of the task, scores in [0, 1] and values between the limits."""
    for name, value in found.items():
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


def assert_close(found, expected):
    """Assert equal labels, except where rounding decides near the threshold, and numbers to 1e-5."""
    for name, value in expected.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5)
        elif name == "topic_label" or (np.abs(expected[name.replace("label", "score")] - 0.5) > 1e-4).all():
            assert found[name].tolist() == value.tolist()


def row(found, i):
    return {name: value[i : i + 1] for name, value in found.items()}


@pytest.mark.parametrize("case", TEXTS)
def test_a_hostile_text_is_answered_and_changes_no_other_row(loaded, case):
    harmless, alone = ask(loaded, [HARMLESS]), ask(loaded, [TEXTS[case]])
    together = ask(loaded, [HARMLESS, TEXTS[case], HARMLESS])
    assert_proper(together, 3)
    assert_close(row(together, 0), harmless)
    assert_close(row(together, 1), alone)
    assert_close(row(together, 2), harmless)


def test_all_hostile_texts_at_once_to_every_signature(loaded):
    texts = [*TEXTS.values(), HARMLESS]
    expected = ask(loaded, texts)
    for signature, outputs in FROM_TEXT.items():
        found = ask(loaded, texts, signature)
        assert set(found) == outputs
        assert_proper(found, len(texts))
        assert_close(found, {name: expected[name] for name in outputs})


@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_batches_of_any_size(loaded, rows):
    texts = [HARMLESS if i % 2 == 0 else b"bad" for i in range(rows)]
    found = ask(loaded, texts)
    assert_proper(found, rows)
    for i in {0, rows - 1} & set(range(rows)):
        assert_close(row(found, i), ask(loaded, texts[i : i + 1]))


@pytest.mark.parametrize("shape", [(), (2, 2), (1, 1), (2, 0)])
def test_texts_must_be_a_vector(loaded, shape):
    with pytest.raises(Refused) as error:
        ask(loaded, np.full(shape, HARMLESS, object))
    assert error.value.code == "INVALID_ARGUMENT"


@pytest.mark.parametrize("token", [8, 99, 2**31 - 1, -9, -(2**31)])
def test_ids_out_of_range_are_refused(loaded_words, token):
    ids = np.ones((2, LENGTH), "int32")
    right = loaded_words.run("tensors", {"ids": ids})
    ids[1, 3] = token
    for signature in FROM_TENSORS:
        with pytest.raises(Refused, match=f"{token}|out of range|not in") as error:
            loaded_words.run(signature, {"ids": ids})
        assert error.value.code == "INVALID_ARGUMENT"
    assert_close(loaded_words.run("tensors", {"ids": np.ones((2, LENGTH), "int32")}), right)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 3.4e38, 1e-45])
def test_numbers_that_are_none_change_no_other_row(loaded_vectors, number):
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    right = loaded_vectors.run("serving_default", {"x": x})
    x[2, 1] = number
    found = loaded_vectors.run("serving_default", {"x": x})
    for i in (0, 1, 3, 4):
        assert_close(row(found, i), row(right, i))
    for name, value in found.items():
        assert value.shape == right[name].shape


TEXT = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(str.encode),
    st.lists(st.sampled_from(["good", "ship", "late", ",", "\0", "好", " "]), max_size=12).map("".join).map(str.encode),
)
HOSTILE = settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@HOSTILE
@given(texts=st.lists(TEXT, max_size=5), place=st.integers(0, 5))
def test_any_texts_are_answered_each_as_alone(loaded, texts, place):
    place = min(place, len(texts))
    texts = [*texts[:place], HARMLESS, *texts[place:]]
    found = ask(loaded, texts)
    assert_proper(found, len(texts))
    for i, text in enumerate(texts):
        assert_close(row(found, i), ask(loaded, [text]))
