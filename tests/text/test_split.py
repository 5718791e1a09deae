"""Words and their positions, compared with the same rule in Python."""

import unicodedata

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import tf_mtl as mtl
from tf_mtl.text._split import split

WORDS = mtl.text.Words(["a"], length=4)


def expected_words(text):
    """Return [(word, begin, end)], with offsets in bytes."""
    words, run, offset = [], "", 0
    for c in text + " ":
        if c.isspace():
            words += words_of_run(run, offset - len(run.encode()))
            run = ""
        else:
            run += c
        offset += len(c.encode())
    return words


def words_of_run(run, offset):
    is_mark = [unicodedata.category(c)[0] in "PS" and c not in "@#" for c in run]
    left = is_mark.index(False) if False in is_mark else len(run)
    right = len(run) - (is_mark[::-1].index(False) if False in is_mark else 0)
    words = []
    for word in filter(None, [*run[:left], run[left:right], *run[right:]]):
        end = offset + len(word.encode())
        words.append((word, offset, end))
        offset = end
    return words


# Unicode 3.2, because Python and TensorFlow differ in the newer characters that they have.
COMMON = st.characters(codec="utf-8").filter(lambda c: unicodedata.ucd_3_2_0.category(c) != "Cn")
LIKELY = st.sampled_from(" \t\n\u00a0\u2003\u3000\u0085\x1c\x00ab.,!?()@#'\"-:/€™é日本😀\u0301\u200d\ufeff\ufffd")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(st.one_of(LIKELY, COMMON), max_size=30), max_size=5))
def test_words_and_offsets_follow_the_rule(texts):
    result = split(tf.constant(texts, tf.string))
    expected = [expected_words(text) for text in texts]
    assert result.words.to_list() == [[word.encode() for word, _, _ in row] for row in expected]
    assert result.begins.to_list() == [[begin for _, begin, _ in row] for row in expected]
    assert result.ends.to_list() == [[end for _, _, end in row] for row in expected]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=12) | st.text(LIKELY, max_size=9).map(lambda text: text.encode()[1:]), max_size=5))
def test_any_bytes_are_split_and_only_white_space_is_dropped(texts):
    result = split(tf.constant(texts, tf.string))
    for text, words, begins, ends in zip(texts, *(values.to_list() for values in result), strict=True):
        assert words == [text[begin:end] for begin, end in zip(begins, ends, strict=True)]
        assert b"" not in words
        assert begins == sorted(begins)
        between = [text[end:begin] for end, begin in zip([0, *ends], [*begins, len(text)], strict=True)]
        assert all(gap.decode().isspace() or not gap for gap in between)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(hello),", "( hello ) ,"),
        (":-)", ": - )"),
        ("don't U.S.A 3.5 http://a.b/c x-y", "don't U.S.A 3.5 http://a.b/c x-y"),
        ("“Why?!”", "“ Why ? ! ”"),
        ("@me #now! $5", "@me #now ! $ 5"),
        ("日本、東京。", "日本、東京 。"),
        ("a\u3000b\u00a0c", "a b c"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_examples(text, expected):
    assert [word.decode() for word in WORDS.split([text]).words.to_list()[0]] == expected.split()


def test_rows_do_not_depend_on_each_other():
    texts = ["so (it", "goes)", "", "...", " on", "and on."]
    batch = WORDS.split(texts)
    for i, text in enumerate(texts):
        for row, rows in zip(WORDS.split([text]), batch, strict=True):
            assert row.to_list() == [rows.to_list()[i]]


def test_memory_is_linear_in_the_length_of_a_text():
    """A copy of the text for each word would take 250 GB."""
    words = WORDS.split(["is " * 300_000 + "!" * 100_000]).words
    assert words.row_lengths().numpy().tolist() == [400_000]


def test_runs_in_a_pipeline():
    data = tf.data.Dataset.from_tensor_slices(["so it goes.", "on"]).batch(2).map(WORDS.split)
    (result,) = data
    assert result.words.to_list() == [[b"so", b"it", b"goes", b"."], [b"on"]]
    assert result.ends.to_list() == [[2, 5, 10, 11], [2]]
    assert {result.begins.dtype, result.ends.dtype} == {tf.int32}


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ("so it goes", TypeError, "`texts`.*received str. Put a single text into a list"),
        (["so", 3], TypeError, "`texts` must hold strings, received 3 \\(int\\)"),
        (["so", None], TypeError, "received None"),
        (["so", ["it"]], TypeError, "received both"),
        (tf.constant([1]), TypeError, "must hold strings, received int32"),
        (5, TypeError, "`texts` must be a list"),
        (tf.constant("so"), ValueError, "batch axis"),
        (tf.constant([["so"]]), ValueError, "from_tensor"),
        ([["so", "it"]], ValueError, "`texts` must be texts.*Words need no splitting"),
    ],
)
def test_errors(texts, error, message):
    with pytest.raises(error, match=message):
        WORDS.split(texts)


def test_arrays_and_sequences():
    for texts in (np.array(["so it"]), np.array(["so it"], object), np.array([b"so it"]), ("so it",), [b"so it"]):
        assert WORDS.split(texts).words.to_list() == [[b"so", b"it"]]
