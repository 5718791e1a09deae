"""Learnt tokenizers: what is tokenized comes back unchanged."""

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.text._pieces import detokenized, text_ends, tokenized
from tf_mtl.text._tokenizers import from_config, to_config

TEXTS = ["a man rides a horse", "ein Mann reitet auf einem Pferd", "mu\u017e jede na koni", "two  dogs, run."]
HARD = [
    *TEXTS,
    " leading",
    "trailing ",
    "tab\tand\nline",
    "\u00fcber stra\u00dfe",
    "\ufb01 \u00c5",
    "\U0001f600",
    "<de> </s> <0x41>",
    "",
    "\u0301",
]


@pytest.fixture(scope="module")
def tokenizer():
    return mtl.text.learn_tokenizer(TEXTS * 5, 320, special_tokens=["<de>", "<cs>"])


def test_tokens_have_their_places(tokenizer):
    assert tokenizer.get_vocabulary()[:6] == ["<pad>", "<unk>", "<s>", "</s>", "<de>", "<cs>"]
    assert tokenizer.vocabulary_size() <= 320
    again = mtl.text.learn_tokenizer(
        tf.data.Dataset.from_tensor_slices(TEXTS * 5), 320, special_tokens=["<de>", "<cs>"]
    )
    assert again.get_vocabulary() == tokenizer.get_vocabulary()


def test_texts_come_back_exactly(tokenizer):
    ends = text_ends(tokenizer, None)
    ids = tokenized(tokenizer, tf.constant(HARD))
    assert not np.isin(ids.flat_values, [0, 1, 2, 3, 4, 5]).any()
    back = detokenized(tokenizer, ids.to_tensor(0), ends).numpy()
    assert [text.decode() for text in back] == HARD
    processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.proto)
    assert [processor.decode(row) for row in ids.to_list()] == HARD


def test_texts_stop_at_their_end(tokenizer):
    ends = text_ends(tokenizer, "<de>")
    assert ends == (4, 3, 0)
    (man,) = tokenized(tokenizer, tf.constant(["man"])).to_list()
    rows = [[*man, 3, *man], [*man, 0, *man], [3, *man, 0], [4, *man, 3]]
    rows = tf.ragged.constant(rows).to_tensor(0)
    assert detokenized(tokenizer, rows, ends).numpy().tolist() == [b"man", b"man man", b"", b"man"]


def test_bytes_that_are_no_characters_are_replaced(tokenizer):
    vocabulary = tokenizer.get_vocabulary()
    broken = [[vocabulary.index("<0xC3>"), vocabulary.index("<0x41>")]]
    assert detokenized(tokenizer, tf.constant(broken), text_ends(tokenizer, None)).numpy() == ["\ufffdA".encode()]


def test_the_tokenizer_is_saved(tokenizer):
    loaded = from_config(to_config(tokenizer))
    assert loaded.get_vocabulary() == tokenizer.get_vocabulary()
    np.testing.assert_array_equal(
        tokenized(loaded, tf.constant(HARD)).flat_values, tokenized(tokenizer, tf.constant(HARD)).flat_values
    )


def test_it_prepares_the_encoder_s_texts_too(tokenizer, tmp_path):
    path = mtl.text.save(mtl.text.Subwords(tokenizer, length=12), tmp_path / "text.json")
    row = mtl.text.load(path)(["a man"])["token_ids"].numpy()[0]
    assert tokenizer.detokenize(row[row > 0].tolist()) == "a man"


def test_other_tokenizers():
    import keras_hub

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "so", "go", "##es"]
    bert = keras_hub.tokenizers.BertTokenizer(vocabulary, lowercase=True)
    ends = text_ends(bert, None)
    assert ends == (2, 3, 0)
    ids = tokenized(bert, tf.constant(["so goes"]))
    assert ids.to_list() == [[5, 6, 7]]
    assert detokenized(bert, tf.constant([[5, 6, 7, 3, 5], [3, 0, 0, 0, 0]]), ends).numpy().tolist() == [
        b"so goes",
        b"",
    ]


def test_bad_arguments(tokenizer):
    import keras_hub

    for data, error in (([], ValueError), ([["a", "b"]], TypeError), ("text", TypeError)):
        with pytest.raises(error, match="`data`"):
            mtl.text.learn_tokenizer(data, 300)
    with pytest.raises(ValueError, match="`vocabulary_size` must be at least 264 for these texts, received 263"):
        mtl.text.learn_tokenizer(["a", "b"], 263, special_tokens=["<de>"])
    assert mtl.text.learn_tokenizer(["a", "b"], 264, special_tokens=["<de>"]).vocabulary_size() == 264
    for wrong in ("<de>", ["<de>", "<de>"]):
        with pytest.raises(ValueError, match="`special_tokens` must be a list of different tokens"):
            mtl.text.learn_tokenizer(TEXTS, 300, special_tokens=wrong)
    with pytest.raises(ValueError, match=r"`start` must be a token .*'<fr>'.*special_tokens=\['<fr>'\]"):
        text_ends(tokenizer, "<fr>")
    endless = keras_hub.tokenizers.WordPieceTokenizer(["[UNK]", "a"])
    with pytest.raises(ValueError, match=r"`tokenizer` must have a token that ends a text.*learn_tokenizer"):
        text_ends(endless, None)
