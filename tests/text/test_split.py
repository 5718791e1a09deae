"""Words and where they are, against the rule once more in Python."""

import unicodedata

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import tf_mtl as mtl
from tf_mtl.text._split import split

WORDS = mtl.text.Words(["a"], length=4)


def by_hand(text):
    """[(word, begin, end)], offsets in bytes."""
    found, run, place = [], "", 0
    for c in text + " ":
        size = len(c.encode())
        if c.isspace():
            found += pieces(run, place - len(run.encode()))
            run = ""
        else:
            run += c
        place += size
    return found


def pieces(run, place):
    marks = [unicodedata.category(c)[0] in "PS" and c not in "@#" for c in run]
    left = marks.index(False) if False in marks else len(run)
    right = len(run) - (marks[::-1].index(False) if False in marks else 0)
    parts = [*run[:left], run[left:right], *run[right:]]
    found = []
    for part in filter(None, parts):
        found.append((part, place, place + len(part.encode())))
        place += len(part.encode())
    return found


# of Unicode 3.2, for newer characters are known to one of two libraries and not to the other
KNOWN = st.characters(codec="utf-8").filter(lambda c: unicodedata.ucd_3_2_0.category(c) != "Cn")
LIKELY = st.sampled_from(" \t\n\u00a0\u2003\u3000\u0085\x1c\x00ab.,!?()@#'\"-:/€™é日本😀\u0301\u200d\ufeff\ufffd")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(st.one_of(LIKELY, KNOWN), max_size=30), max_size=5))
def test_words_and_offsets_are_those_of_the_rule(texts):
    found = split(tf.constant(texts, tf.string))
    expected = [by_hand(text) for text in texts]
    for part, values in enumerate(found):
        wanted = [[word[part].encode() if part == 0 else word[part] for word in row] for row in expected]
        assert values.to_list() == wanted


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=12) | st.text(LIKELY, max_size=9).map(lambda text: text.encode()[1:]), max_size=5))
def test_any_bytes_are_split_and_none_but_white_space_are_lost(texts):
    found = split(tf.constant(texts, tf.string))
    for text, words, begins, ends in zip(texts, *(values.to_list() for values in found), strict=True):
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
    together = WORDS.split(texts)
    for i, text in enumerate(texts):
        for one, all_of_them in zip(WORDS.split([text]), together, strict=True):
            assert one.to_list() == [all_of_them.to_list()[i]]


def test_a_long_text_takes_no_more_than_its_share():
    """A copy of the text for each word would be 250 GB."""
    words = WORDS.split(["is " * 300_000 + "!" * 100_000]).words
    assert words.row_lengths().numpy().tolist() == [400_000]


def test_runs_in_a_pipeline():
    data = tf.data.Dataset.from_tensor_slices(["so it goes.", "on"]).batch(2).map(WORDS.split)
    (found,) = data
    assert found.words.to_list() == [[b"so", b"it", b"goes", b"."], [b"on"]]
    assert found.ends.to_list() == [[2, 5, 10, 11], [2]]
    assert {found.begins.dtype, found.ends.dtype} == {tf.int32}


@pytest.mark.parametrize(
    ("texts", "error", "words"),
    [
        ("so it goes", TypeError, "`texts`.*put a single text into a list"),
        (["so", 3], TypeError, "`texts` must hold strings, received 3 \\(int\\)"),
        (["so", None], TypeError, "received None"),
        (["so", ["it"]], TypeError, "received both"),
        (tf.constant([1]), TypeError, "must hold strings, received int32"),
        (5, TypeError, "`texts` must be a list"),
        (tf.constant("so"), ValueError, "batch axis"),
        (tf.constant([["so"]]), ValueError, "from_tensor"),
        ([["so", "it"]], ValueError, "`texts` must be texts.*no splitting"),
    ],
)
def test_errors(texts, error, words):
    with pytest.raises(error, match=words):
        WORDS.split(texts)


def test_takes_arrays():
    for texts in (np.array(["so it"]), np.array(["so it"], object), np.array([b"so it"]), ("so it",), [b"so it"]):
        assert WORDS.split(texts).words.to_list() == [[b"so", b"it"]]
