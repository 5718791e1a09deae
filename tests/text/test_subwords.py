"""Sub-words of each word, compared with those of keras-hub's and other tokenizers for the whole text."""

import functools
import itertools
import unicodedata

import keras_hub
import numpy as np
import pytest
import small_tokenizers as small
import tensorflow as tf
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

import tf_mtl as mtl


@functools.cache
def cached(kind, length):
    return mtl.text.Subwords(small.TOKENIZERS[kind](), length)


def subwords(kind, length=64):
    """Return a preprocessor, cached so that it is traced once, unless it has a SentencePiece model.

    Setting the seed, as before each test, unloads these models.
    """
    return (cached if kind in ("bert", "roberta") else cached.__wrapped__)(kind, length)


def tokens(pre, texts):
    """Return the tokens of each row without padding, after checking the padding."""
    inputs = pre(texts)
    assert {(x.dtype, x.shape) for x in inputs.values()} == {(tf.int32, (len(texts), pre.length))}
    ids, mask = (inputs[name].numpy() for name in ("token_ids", "padding_mask"))
    assert (mask == np.sort(mask)[:, ::-1]).all()
    assert (ids[mask == 0] == pre.padding("token_ids")).all()
    assert not (inputs["word_starts"].numpy() > mask).any()
    return [row[row_mask == 1].tolist() for row, row_mask in zip(ids, mask, strict=True)]


def tokenized(pre, text):
    """Return the output of the tokenizer itself for a text, eagerly, with its start and end tokens."""
    ids = np.array(pre.tokenizer([text])[0]).tolist()
    return [pre.tokenizer.start_token_id, *ids, pre.tokenizer.end_token_id]


def is_comparable(c):
    """Return whether BERT and keras-hub's BERT split at this character as Subwords does; a test below has others."""
    kinds = {unicodedata.ucd_3_2_0.category(c), unicodedata.category(c)}  # keras-hub's, and the current ones
    symbol = any(kind[0] == "S" for kind in kinds)
    return c in " \n" or (not kinds & {"Cn", "Cc", "Cf"} and not c.isspace() and (not symbol or ord(c) < 128))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.text(
            st.sampled_from(" aogesunZé日本.,!?()@#'-$+^") | st.characters(codec="utf-8").filter(is_comparable),
            max_size=24,
        )
    )
)
def test_bert_has_the_tokens_of_the_whole_text(texts):
    pre = subwords("bert", 128)
    assert tokens(pre, texts) == [tokenized(pre, text) for text in texts]


def test_bert_has_the_tokens_of_another_library():
    pre = subwords("bert")
    vocabulary = {token: i for i, token in enumerate(pre.tokenizer.get_vocabulary())}
    other = tokenizers.BertWordPieceTokenizer(vocabulary, lowercase=True)
    assert tokens(pre, small.TEXTS) == [other.encode(text).ids for text in small.TEXTS]


@pytest.mark.parametrize("text", ["€5", "a™", "so\u00a0it", "so\u3000it", "so \x00 it"])
def test_where_bert_differs_from_the_whole_text(text):
    """Here, symbols and blanks outside ASCII separate words, and a control character on its own is a word."""
    pre = subwords("bert")
    assert tokens(pre, [text]) != [tokenized(pre, text)]
    assert tokens(pre, [text]) == tokens(pre, [pre.split([text]).words.to_list()[0]])


@pytest.mark.parametrize("kind", small.TOKENIZERS)
def test_words_between_blanks_have_the_tokens_of_the_whole_text(kind):
    pre = subwords(kind)
    texts = [" ".join(text.split()) for text in ("it goes without saying", "so it goes", "so", "unaffordable café")]
    assert tokens(pre, texts) == [tokenized(pre, text) for text in texts]


@pytest.mark.parametrize("kind", small.TOKENIZERS)
def test_serving_equals_training(kind):
    pre = subwords(kind)
    words = pre.split(small.TEXTS).words
    expected = tokens(pre, small.TEXTS)
    assert tokens(pre, words.to_list()) == expected
    assert tokens(pre, tf.strings.reduce_join(words, axis=1, separator=" ").numpy().tolist()) == expected
    for i, text in enumerate(small.TEXTS):  # on its own
        assert tokens(pre, [text]) == [expected[i]]


@pytest.mark.parametrize("kind", small.TOKENIZERS)
def test_each_word_has_one_start(kind):
    pre = subwords(kind)
    row = ["it", "", "\x00", "\u200d", b"\xff", "日", "so", " ", "it goes"]
    for words in ([row], [row[1:], [], row]):
        encoded = pre.encode(words)
        assert pre.word_counts(encoded).numpy().tolist() == [len(part) for part in words]
    starts = pre.encode([row])["word_starts"].to_list()[0]
    ids = pre.encode([row])["token_ids"].to_list()[0]
    assert (starts[0], starts[-1], ids[0], ids[-1]) == (0, 0, *tokenized(pre, "")[:1], *tokenized(pre, "")[-1:])
    begins = [*np.flatnonzero(starts), len(ids) - 1]
    by_word = [ids[a:b] for a, b in itertools.pairwise(begins)]
    assert by_word[0] == tokenized(pre, "it")[1:-1]
    blank = " " if kind == "roberta" else ""
    assert by_word[6] == tokenized(pre, blank + "so")[1:-1]
    assert by_word[8] == tokenized(pre, blank + "it goes")[1:-1]


@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_runs_in_a_pipeline(kind):
    pre = subwords(kind)
    words = pre.split(small.TEXTS).words
    batches = list(tf.data.Dataset.from_tensor_slices(words).ragged_batch(3).map(pre))
    for name, value in pre(small.TEXTS).items():
        np.testing.assert_array_equal(np.concatenate([batch[name] for batch in batches]), value)


@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_truncation_keeps_the_end_token_and_counts_the_remaining_words(kind):
    untruncated = subwords(kind)
    text = "unaffordable it (goes)"
    (ids,), starts = tokens(untruncated, [text]), untruncated([text])["word_starts"].numpy()[0]
    for length in (3, 6, len(ids), len(ids) + 1):
        pre = subwords(kind, length)
        end = min(length, len(ids)) - 1
        assert tokens(pre, [text]) == [[*ids[:end], ids[-1]]]
        word_count = starts[:end].sum()
        assert pre.word_counts(pre.encode(pre.split([text]).words)).numpy().tolist() == [word_count]
        begins, ends = (offsets.numpy()[0] for offsets in pre.locate([text])[1:])
        assert begins.shape == (length,)
        words = [text[a:b] for a, b in zip(begins, ends, strict=True) if b]
        assert words == ["unaffordable", "it", "(", "goes", ")"][:word_count]


@pytest.mark.parametrize(("empty", "rows"), [([], 0), ([""], 1), ([[]], 1), ([[], []], 2)])
@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm_roberta"])
def test_empty_texts(kind, empty, rows):
    pre = subwords(kind)
    assert tokens(pre, empty) == [tokenized(pre, "")] * rows
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


@pytest.mark.parametrize("form", ["texts", "words", "data set"])
def test_learn(form):
    data = {"texts": small.TEXTS * 30, "words": [text.split() for text in small.TEXTS] * 30}
    data["data set"] = tf.data.Dataset.from_tensor_slices(data["texts"])
    pre = mtl.text.Subwords.learn(data[form], length=40, vocabulary_size=90)
    vocabulary = pre.tokenizer.get_vocabulary()
    assert vocabulary[:2] == ["[PAD]", "[UNK]"]
    assert 40 < pre.vocabulary_size <= 90
    assert "goes" in vocabulary
    ids = pre(["GOES it 日 so"])["token_ids"].numpy()[0]
    text = " ".join(vocabulary[i] for i in ids if i).replace(" ##", "")
    assert text == "goes it [UNK] so"
    assert mtl.text.Subwords.learn(data[form], 40, 90).tokenizer.get_vocabulary() == vocabulary


@pytest.mark.parametrize(
    ("tokenizer", "length", "error", "message"),
    [
        (lambda: "bert", 9, TypeError, "`tokenizer` must be one of keras_hub.tokenizers, received 'bert'"),
        (small.bert, 2, ValueError, "`length`.*room for a word.*received 2. Use at least 3"),
        (small.bert, 0, ValueError, "`length`.*received 0"),
        (lambda: word_piece(dtype="string"), 9, ValueError, '`tokenizer`.*string.*dtype="int32"'),
        (lambda: word_piece(sequence_length=5), 9, ValueError, "`tokenizer`.*fixed `sequence_length`"),
        (lambda: word_piece(split=False), 9, ValueError, "`tokenizer`.*split=True"),
        (
            lambda: keras_hub.tokenizers.SentencePieceTokenizer(small.albert().proto, add_bos=True),
            9,
            ValueError,
            "add_bos",
        ),
        (lambda: keras_hub.tokenizers.BytePairTokenizer({"a": 0, "b": 1, "ab": 2}, ["a b"]), 9, ValueError, "<unk>"),
    ],
)
def test_errors(tokenizer, length, error, message):
    with pytest.raises(error, match=message):
        mtl.text.Subwords(tokenizer(), length)


def word_piece(**options):
    return keras_hub.tokenizers.WordPieceTokenizer(["[PAD]", "[UNK]", "a"], **options)


def test_gpt2_with_a_blank_before_the_first_word_and_the_end_token_for_unknown_words():
    pre = mtl.text.Subwords(small.gpt2(add_prefix_space=True), 9)
    end = pre.tokenizer.end_token_id
    it, thorn = (tokenized(subwords("roberta"), text)[1:-1] for text in (" it", " þ"))
    assert tokens(pre, [["it", "þ", "it"]]) == [[end, *it, *thorn[:-1], end, *it, end]]


def test_a_tokenizer_without_special_tokens():
    assert tokens(mtl.text.Subwords(word_piece(), 3), ["a b a a", "a", ""]) == [[2, 1, 2], [2], []]


def test_with_length():
    pre = subwords("bert", 4)
    longer = pre.with_length(8)
    assert type(longer) is mtl.text.Subwords
    assert longer.get_config() == {**pre.get_config(), "length": 8}
    assert tokens(longer, small.TEXTS) == tokens(subwords("bert", 8), small.TEXTS)
    with pytest.raises(ValueError, match="room for a word"):
        pre.with_length(2)
