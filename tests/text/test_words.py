"""Words as tokens: vocabularies, ids and pretrained vectors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

TEXTS = ["So it goes, so it goes.", "It was so", "Zoë was"]


def ids(words, texts):
    return words(texts)["token_ids"].numpy().tolist()


def learning_data():
    words = [["So", "it", "goes", ",", "so", "it", "goes", "."], ["It", "was", "so"], ["Zoë", "was"]]
    yield "texts", TEXTS
    yield "array", np.array(TEXTS)
    yield "words", words
    yield "one text of a known number of words", tf.data.Dataset.from_tensors([*words[0], *words[1], *words[2]])
    yield "data set of texts", tf.data.Dataset.from_tensor_slices(TEXTS)
    yield (
        "data set of words",
        tf.data.Dataset.from_generator(lambda: words, output_signature=tf.TensorSpec([None], tf.string)),
    )


@pytest.mark.parametrize(("kind", "data"), list(learning_data()))
def test_the_vocabulary_is_sorted_by_frequency_and_then_alphabet(kind, data):
    assert mtl.text.Words.learn(data, 9).vocabulary == ("it", "so", "goes", "was", ",", ".", "zoë")


def test_limits_of_the_vocabulary():
    learn = mtl.text.Words.learn
    assert learn(TEXTS, 9, max_words=2).vocabulary == ("it", "so")
    assert learn(TEXTS, 9, min_count=2).vocabulary == ("it", "so", "goes", "was")
    assert learn(TEXTS, 9, lowercase=False).vocabulary == ("goes", "it", "so", "was", ",", ".", "It", "So", "Zoë")
    many = ["b a"] * 1500 + ["c"]  # more than a batch
    assert learn(many, 9).vocabulary == ("a", "b", "c")


def test_ids():
    words = mtl.text.Words(["it", "so", "ÉTÉ".lower()], length=5)
    assert words.vocabulary_size == 5
    assert ids(words, ["So IT goes", "été ÉTÉ", "so " * 9]) == [[3, 2, 1, 0, 0], [4, 4, 0, 0, 0], [3] * 5]
    assert ids(words, [["so", "", "it"], [], ["so it"]]) == [[3, 1, 2, 0, 0], [0] * 5, [1, 0, 0, 0, 0]]
    assert ids(words, [b"so \xff it"]) == [[3, 1, 2, 0, 0]]
    encoded = words.encode([["so", "it"], []])
    assert encoded["token_ids"].to_list() == [[3, 2], []]
    assert encoded["token_ids"].dtype == tf.int32
    assert words.word_counts(encoded).numpy().tolist() == [2, 0]
    assert ids(mtl.text.Words(["It"], 2, lowercase=False), ["It it"]) == [[2, 1]]


def test_invalid_bytes_are_learnt_and_looked_up_alike():
    words = mtl.text.Words.learn([b"a\xffx a\xfex b", "b b b"], length=3)
    assert words.vocabulary == ("b", "a\ufffdx")
    assert ids(words, [b"a\xffx b a\xfdx"]) == [[3, 2, 3]]


def test_serving_equals_training():
    words = mtl.text.Words.learn(TEXTS, 6)
    split = words.split(TEXTS).words
    assert ids(words, TEXTS) == ids(words, split) == ids(words, split.to_list())
    assert ids(words, tf.strings.reduce_join(split, axis=1, separator=" ")) == ids(words, split)
    batches = tf.data.Dataset.from_tensor_slices(split).ragged_batch(2).map(words)
    assert np.concatenate([batch["token_ids"] for batch in batches]).tolist() == ids(words, TEXTS)


def test_locate():
    words = mtl.text.Words(["so"], length=3)
    _, begins, ends = words.locate([" so (it) goes", "Zoë so", ""])
    assert begins.numpy().tolist() == [[1, 4, 5], [0, 5, 0], [0, 0, 0]]
    assert ends.numpy().tolist() == [[3, 5, 7], [4, 7, 0], [0, 0, 0]]
    assert (begins.dtype, ends.dtype) == (tf.int32, tf.int32)


@pytest.mark.parametrize(("empty", "rows"), [([], 0), ([""], 1), ([[]], 1), (tf.zeros([0], tf.string), 0)])
def test_empty_texts(empty, rows):
    words = mtl.text.Words(["so"], length=3)
    assert ids(words, empty) == [[0, 0, 0]] * rows
    if empty != [[]]:
        assert words.locate(empty).begins.shape == (rows, 3)
        assert words.split(empty).words.to_list() == [[]] * rows
    if empty != [""]:
        encoded = words.encode(empty)
        assert encoded["token_ids"].to_list() == [[]] * rows
        assert words.word_counts(encoded).shape == (rows,)


def test_inputs_take_batches_of_any_length():
    words = mtl.text.Words.learn(TEXTS, 6)
    encoder = mtl.encoders.RecurrentEncoder(words.vocabulary_size, dim=4, units=3, dropout=0.0)
    inputs = words.inputs()
    assert {name: (x.name, x.shape, x.dtype) for name, x in inputs.items()} == {
        "token_ids": ("token_ids", (None, None), "int32")
    }
    model = keras.Model(inputs, encoder(inputs)["pooled"])
    short = words.encode([["so", "it"], ["goes"]])["token_ids"].to_tensor()
    assert short.shape == (2, 2)
    np.testing.assert_allclose(model({"token_ids": short}), model(words([["so", "it"], ["goes"]])), atol=1e-6)


def test_with_length():
    words = mtl.text.Words(["so", "Zoë"], 2, lowercase=False, name="mine")
    longer = words.with_length(4)
    assert type(longer) is mtl.text.Words
    assert longer.get_config() == {**words.get_config(), "length": 4}
    assert ids(longer, ["so Zoë it"]) == [[2, 3, 1, 0]]
    assert ids(words, ["so Zoë it"]) == [[2, 3]]
    with pytest.raises(ValueError, match="`length` must be an integer, at least 1, received 0"):
        words.with_length(0)


def test_embeddings(tmp_path):
    words = mtl.text.Words(["so", "it", "new york", "goes"], length=5)
    path = tmp_path / "vectors.txt"
    path.write_text("it 1 2 -3e-1\nnew york 4 5 6\nother 7 8 9\nso 0.5 0 0\n", "utf-8")
    matrix, covered = words.embeddings(path, 3)
    assert covered == 3
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(matrix[[0, 2, 3, 4]], [[0, 0, 0], [0.5, 0, 0], [1, 2, -0.3], [4, 5, 6]])
    rest = matrix[[1, 5]]
    assert (np.abs(rest) <= 0.05).all()
    assert len(np.unique(rest)) == 6
    path.write_text("4 3\n" + path.read_text("utf-8"), "utf-8")  # as in word2vec's files
    with_header, _ = words.embeddings(str(path), 3)
    np.testing.assert_array_equal(with_header, matrix)
    other, covered = words.embeddings({"it": [1, 2, -0.3], "This": [1, 2, 3]}, 3, seed=1)
    assert covered == 1
    np.testing.assert_allclose(other[3], [1, 2, -0.3])
    assert not np.isclose(other[[1, 5]], rest).any()
    encoder = mtl.encoders.RecurrentEncoder(words.vocabulary_size, dim=3, units=2, embeddings=matrix)
    assert encoder(words(["so it goes"])["token_ids"])["sequence"].shape == (1, 5, 4)

    path.write_text("it 1 2 3\nso 1 2\n", "utf-8")
    with pytest.raises(ValueError, match="vectors.txt, line 2 .*`dim` = 3.*'so 1 2"):
        words.embeddings(path, 3)
    with pytest.raises(ValueError, match="vector of 'it' has 2 numbers, but `dim` is 3"):
        words.embeddings({"it": [1, 2]}, 3)


@pytest.mark.parametrize(
    ("vocabulary", "options", "error", "message"),
    [
        ([], {}, ValueError, "`vocabulary` must hold non-empty words, received no word.*Words.learn"),
        (["a", ""], {}, ValueError, "`vocabulary`.*an empty word"),
        (["a", "b", "a"], {}, ValueError, "`vocabulary`.*once.*'a'.*Remove"),
        (["a", b"b"], {}, TypeError, "`vocabulary` must hold strings, received b'b' \\(bytes\\)"),
        ("abc", {}, TypeError, "`vocabulary` must be a list"),
        (["a", "B"], {}, ValueError, "'B'.*lowercase=False"),
        (["a"], {"length": 0}, ValueError, "`length` must be an integer, at least 1, received 0"),
        (["a"], {"length": 2.5}, ValueError, "`length` must be an integer, at least 1, received 2.5"),
    ],
)
def test_errors(vocabulary, options, error, message):
    with pytest.raises(error, match=message):
        mtl.text.Words(vocabulary, **{"length": 3, **options})


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        ([], {}, ValueError, "`data` must hold at least one text"),
        (["", " "], {}, ValueError, "No word of `data`"),
        (["a b"], {"min_count": 2}, ValueError, "No word of `data` occurs 2 times.*`min_count`"),
        (["a b"], {"max_words": 0}, ValueError, "`max_words` must be an integer, at least 1, or None, received 0"),
        ([1, 2], {}, TypeError, "`data` must hold strings, received 1"),
        (tf.data.Dataset.from_tensor_slices([1]), {}, TypeError, "`data` must be a data set of single texts.*`map`"),
        (
            tf.data.Dataset.from_tensor_slices((["a"], [1])),
            {},
            TypeError,
            "`data` must be a data set.*strings alone",
        ),
        (tf.data.Dataset.from_tensors([["a"]]), {}, TypeError, "`data` must be a data set of.*do not batch"),
    ],
)
def test_errors_of_learn(data, options, error, message):
    with pytest.raises(error, match=message):
        mtl.text.Words.learn(data, 3, **options)


def test_texts_in_place_of_words():
    with pytest.raises(ValueError, match="`words` must be the words of each text.*`split`"):
        mtl.text.Words(["a"], 3).encode(["a b"])


def test_the_base_class_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        mtl.text.TextPreprocessor(3)
