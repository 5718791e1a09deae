"""Sub-words of each word, against keras-hub's and other tokenizers on the whole text."""

import functools
import itertools
import unicodedata

import keras_hub
import numpy as np
import pytest
import tensorflow as tf
import tokenizers
import tokenizers_made as made
from hypothesis import given, settings
from hypothesis import strategies as st

import tf_mtl as mtl


@functools.cache
def kept(kind, length):
    return mtl.text.Subwords(made.MADE[kind](), length)


def subwords(kind, length=64):
    """A preprocessor, which traces but once; setting the seed, as before each test, unloads SentencePiece models."""
    return (kept if kind in ("bert", "roberta") else kept.__wrapped__)(kind, length)


def tokens(pre, texts):
    """The tokens of each row, without padding; the padding must be what it should."""
    found = pre(texts)
    assert {(x.dtype, x.shape) for x in found.values()} == {(tf.int32, (len(texts), pre.length))}
    ids, mask = (found[name].numpy() for name in ("token_ids", "padding_mask"))
    assert (mask == np.sort(mask)[:, ::-1]).all()
    assert (ids[mask == 0] == pre.padding("token_ids")).all()
    assert not (found["word_starts"].numpy() > mask).any()
    return [row[kept == 1].tolist() for row, kept in zip(ids, mask, strict=True)]


def alone(pre, text):
    """What the tokenizer itself gives for a text, eagerly, with its start and end tokens."""
    around = [getattr(pre.tokenizer, name) for name in ("start_token_id", "end_token_id")]
    return [around[0], *np.array(pre.tokenizer([text])[0]).tolist(), around[1]]


def comparable(c):
    """All but what BERT, or keras-hub's, splits otherwise: see the test of differences."""
    kinds = {unicodedata.ucd_3_2_0.category(c), unicodedata.category(c)}  # keras-hub's, and today's
    symbol = any(kind[0] == "S" for kind in kinds)
    return c in " \n" or (not kinds & {"Cn", "Cc", "Cf"} and not c.isspace() and (not symbol or ord(c) < 128))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.text(
            st.sampled_from(" aogesunZé日本.,!?()@#'-$+^") | st.characters(codec="utf-8").filter(comparable),
            max_size=24,
        )
    )
)
def test_bert_has_the_tokens_of_the_whole_text(texts):
    pre = subwords("bert", 128)
    assert tokens(pre, texts) == [alone(pre, text) for text in texts]


def test_bert_has_the_tokens_of_another_library():
    pre = subwords("bert")
    places = {token: i for i, token in enumerate(pre.tokenizer.get_vocabulary())}
    other = tokenizers.BertWordPieceTokenizer(places, lowercase=True)
    assert tokens(pre, made.TEXTS) == [other.encode(text).ids for text in made.TEXTS]


@pytest.mark.parametrize("text", ["€5", "a™", "so\u00a0it", "so\u3000it", "so \x00 it"])
def test_where_bert_differs_from_the_whole_text(text):
    """Symbols beyond ASCII and blanks beyond ASCII part words here, and a control character alone is a word."""
    pre = subwords("bert")
    assert tokens(pre, [text]) != [alone(pre, text)]
    assert tokens(pre, [text]) == tokens(pre, [pre.split([text]).words.to_list()[0]])


@pytest.mark.parametrize("kind", made.MADE)
def test_words_between_blanks_have_the_tokens_of_the_whole_text(kind):
    pre = subwords(kind)
    texts = [" ".join(text.split()) for text in ("it goes without saying", "so it goes", "so", "unaffordable café")]
    assert tokens(pre, texts) == [alone(pre, text) for text in texts]


@pytest.mark.parametrize("kind", made.MADE)
def test_serving_equals_training(kind):
    pre = subwords(kind)
    words = pre.split(made.TEXTS).words
    expected = tokens(pre, made.TEXTS)
    assert tokens(pre, words.to_list()) == expected
    assert tokens(pre, tf.strings.reduce_join(words, axis=1, separator=" ").numpy().tolist()) == expected
    for i, text in enumerate(made.TEXTS):  # whatever stands beside it
        assert tokens(pre, [text]) == [expected[i]]


@pytest.mark.parametrize("kind", made.MADE)
def test_each_word_starts_once_whatever_it_is(kind):
    pre = subwords(kind)
    row = ["it", "", "\x00", "\u200d", b"\xff", "日", "so", " ", "it goes"]
    for words in ([row], [row[1:], [], row]):
        encoded = pre.encode(words)
        assert pre.word_counts(encoded).numpy().tolist() == [len(part) for part in words]
    starts = pre.encode([row])["word_starts"].to_list()[0]
    ids = pre.encode([row])["token_ids"].to_list()[0]
    assert (starts[0], starts[-1], ids[0], ids[-1]) == (0, 0, *alone(pre, "")[:1], *alone(pre, "")[-1:])
    begins = [*np.flatnonzero(starts), len(ids) - 1]
    by_word = [ids[a:b] for a, b in itertools.pairwise(begins)]
    assert by_word[0] == alone(pre, "it")[1:-1]
    blank = " " if kind == "roberta" else ""
    assert by_word[6] == alone(pre, blank + "so")[1:-1]
    assert by_word[8] == alone(pre, blank + "it goes")[1:-1]


@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_runs_in_a_pipeline(kind):
    pre = subwords(kind)
    words = pre.split(made.TEXTS).words
    batches = list(tf.data.Dataset.from_tensor_slices(words).ragged_batch(3).map(pre))
    for name, value in pre(made.TEXTS).items():
        np.testing.assert_array_equal(np.concatenate([batch[name] for batch in batches]), value)


@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_cutting_keeps_the_end_and_tells_how_many_words_are_left(kind):
    whole = subwords(kind)
    text = "unaffordable it (goes)"
    (full,), starts = tokens(whole, [text]), whole([text])["word_starts"].numpy()[0]
    for length in (3, 6, len(full), len(full) + 1):
        pre = subwords(kind, length)
        room = min(length, len(full)) - 1
        assert tokens(pre, [text]) == [[*full[:room], full[-1]]]
        kept = starts[:room].sum()
        assert pre.word_counts(pre.encode(pre.split([text]).words)).numpy().tolist() == [kept]
        begins, ends = (offsets.numpy()[0] for offsets in pre.locate([text])[1:])
        assert begins.shape == (length,)
        cut = [text[a:b] for a, b in zip(begins, ends, strict=True) if b]
        assert cut == ["unaffordable", "it", "(", "goes", ")"][:kept]


@pytest.mark.parametrize(("empty", "rows"), [([], 0), ([""], 1), ([[]], 1), ([[], []], 2)])
@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm_roberta"])
def test_nothing_is_something(kind, empty, rows):
    pre = subwords(kind)
    assert tokens(pre, empty) == [alone(pre, "")] * rows
    assert not pre(empty)["word_starts"].numpy().any()
    if [] not in empty:
        assert pre.locate(empty).ends.numpy().tolist() == [[0] * 64] * rows
    if "" not in empty:
        assert pre.word_counts(pre.encode(empty)).numpy().tolist() == [0] * rows


def test_inputs():
    pre = subwords("bert")
    assert pre.vocabulary_size == pre.tokenizer.vocabulary_size()
    assert {name: (x.name, x.shape, x.dtype) for name, x in pre.inputs().items()} == {
        name: (name, (None, None), "int32") for name in ("token_ids", "padding_mask", "word_starts")
    }


@pytest.mark.parametrize("of", ["texts", "words", "data set"])
def test_learn(of):
    data = {"texts": made.TEXTS * 30, "words": [text.split() for text in made.TEXTS] * 30}
    data["data set"] = tf.data.Dataset.from_tensor_slices(data["texts"])
    pre = mtl.text.Subwords.learn(data[of], length=40, vocabulary_size=90)
    vocabulary = pre.tokenizer.get_vocabulary()
    assert vocabulary[:2] == ["[PAD]", "[UNK]"]
    assert 40 < pre.vocabulary_size <= 90
    assert "goes" in vocabulary
    ids = pre(["GOES it 日 so"])["token_ids"].numpy()[0]
    text = " ".join(vocabulary[i] for i in ids if i).replace(" ##", "")
    assert text == "goes it [UNK] so"
    assert mtl.text.Subwords.learn(data[of], 40, 90).tokenizer.get_vocabulary() == vocabulary


@pytest.mark.parametrize(
    ("tokenizer", "length", "error", "words"),
    [
        (lambda: "bert", 9, TypeError, "`tokenizer` must be one of keras_hub.tokenizers, received 'bert'"),
        (made.bert, 2, ValueError, "`length`.*room for a word.*received 2"),
        (made.bert, 0, ValueError, "`length`.*received 0"),
        (lambda: piece(dtype="string"), 9, ValueError, '`tokenizer`.*string.*dtype="int32"'),
        (lambda: piece(sequence_length=5), 9, ValueError, "`tokenizer`.*fixed length"),
        (lambda: piece(split=False), 9, ValueError, "`tokenizer`.*split=True"),
        (
            lambda: keras_hub.tokenizers.SentencePieceTokenizer(made.albert().proto, add_bos=True),
            9,
            ValueError,
            "add_bos",
        ),
        (lambda: keras_hub.tokenizers.BytePairTokenizer({"a": 0, "b": 1, "ab": 2}, ["a b"]), 9, ValueError, "<unk>"),
    ],
)
def test_errors(tokenizer, length, error, words):
    with pytest.raises(error, match=words):
        mtl.text.Subwords(tokenizer(), length)


def piece(**options):
    return keras_hub.tokenizers.WordPieceTokenizer(["[PAD]", "[UNK]", "a"], **options)


def test_a_first_word_may_have_its_blank_and_the_end_token_stand_for_what_is_unknown():
    pre = mtl.text.Subwords(made.gpt2(add_prefix_space=True), 9)
    end = pre.tokenizer.end_token_id
    it, thorn = (alone(subwords("roberta"), text)[1:-1] for text in (" it", " þ"))
    assert tokens(pre, [["it", "þ", "it"]]) == [[end, *it, *thorn[:-1], end, *it, end]]


def test_a_tokenizer_without_special_tokens():
    assert tokens(mtl.text.Subwords(piece(), 3), ["a b a a", "a", ""]) == [[2, 1, 2], [2], []]
