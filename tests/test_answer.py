"""`model.answer` gives what the export gives, batched, under strategies, for raw inputs of every kind."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

TEXTS = ["Anna lives in Paris", "Tom Hanks visited Rome today", "nothing here", "", "In Oslo Kim met Anna"]
T = mtl.tasks


def reader(length=6, crf=False):
    keras.utils.set_random_seed(0)
    words = mtl.text.Words.learn(TEXTS, length=length)
    encoder = mtl.encoders.RecurrentEncoder(words.vocabulary_size, dim=4, units=3, dropout=0.0)
    tasks = [
        T.Tagging("ner", labels=["O", "B-PER", "I-PER"], crf=crf),
        T.Classification("mood", labels=["sad", "happy"], after={"ner": "probabilities"}),
        T.Regression("stars", low=-1, high=1),
    ]
    return mtl.build_model(words.inputs(), mtl.trunks.HardSharing(encoder), tasks), words


def exported(model, preprocessor, inputs, folder):
    """The answers of an export, by task and part."""
    path = mtl.export.saved_model(model, folder / "export", preprocessor=preprocessor, check=False)
    loaded = tf.saved_model.load(str(path))
    outputs = loaded.signatures["serving_default"](**{key: tf.constant(value) for key, value in inputs.items()})
    return {name: value.numpy() for name, value in outputs.items()}


def assert_same(answers, outputs):
    flat = {f"{task}_{part}": value for task, parts in answers.items() for part, value in parts.items()}
    assert flat.keys() == outputs.keys()
    for name, value in flat.items():
        if value.dtype.kind == "U":
            assert value.tolist() == np.char.decode(outputs[name].astype(bytes), "utf-8").tolist(), name
        else:
            np.testing.assert_allclose(value, outputs[name], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("crf", [pytest.param(False, marks=pytest.mark.slow), True])
def test_texts(tmp_path, crf):
    model, words = reader(crf=crf)
    expected = exported(model, words, {"text": TEXTS}, tmp_path)
    assert_same(model.answer(TEXTS, words), expected)
    assert_same(model.answer(np.array(TEXTS), words, batch_size=2), expected)


def test_two_replicas(tmp_path):
    one, words = reader()
    with mtl.distribute.strategy("mirrored").scope():
        two, _ = reader()
    expected, answers = one.answer(TEXTS, words), two.answer(TEXTS, words, batch_size=3)
    assert answers["ner"]["words"].tolist() == expected["ner"]["words"].tolist()
    np.testing.assert_allclose(answers["mood"]["score"], expected["mood"]["score"], rtol=1e-5)


def test_some_tasks():
    model, words = reader()
    assert model.answer(TEXTS, words, tasks=["mood"]).keys() == {"mood"}
    with pytest.raises(ValueError, match="unknown key 'moods'.*Did you mean 'mood'"):
        model.answer(TEXTS, words, tasks=["moods"])


def test_columns(tmp_path):
    """A preprocessor of columns, which is part of the model's graph in an export."""
    a, b = keras.Input((1,), name="a"), keras.Input((1,), name="b")
    columns = keras.Model({"a": a, "b": b}, keras.layers.Concatenate()([a, b]))
    trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([4]))
    model = mtl.build_model(keras.Input((2,), name="x"), trunk, [T.BinaryClassification("sold")])
    raw = {"a": [[1.0], [2.0], [3.0]], "b": [[0.5], [0.0], [-1.0]]}
    assert_same(model.answer(raw, columns, batch_size=2), exported(model, columns, raw, tmp_path))
    as_columns = {name: np.ravel(values) for name, values in raw.items()}  # as `fit` takes them
    assert_same(model.answer(as_columns, columns), exported(model, columns, raw, tmp_path))
    with pytest.raises(ValueError, match=r"`inputs` must be a dict with the keys \['a', 'b'\].*received \['a'\]"):
        model.answer({"a": [[1.0]]}, columns)


def test_the_models_own_inputs(tmp_path):
    trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([4]))
    model = mtl.build_model(keras.Input((2,), name="x"), trunk, [T.Regression("price", scale=9.0)])
    x = np.random.default_rng(0).normal(size=(5, 2)).astype("float32")
    assert_same(model.answer(x), exported(model, None, {"x": x}, tmp_path))
    assert_same(
        model.answer(x),
        {
            "price_value": model.predict(x, verbose=0)["price"][:, 0],
            "price_raw": model.predict(x, verbose=0)["price"][:, 0],
        },
    )


def test_rows_of_any_length():
    """Where the model takes any length, all rows are padded to the longest."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def ids_of_words(texts):
        return tf.strings.to_hash_bucket_fast(tf.strings.split(texts), 19) + 1

    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32", name="ids")
    encoder = keras.Sequential([keras.layers.Embedding(20, 4, mask_zero=True), mtl.layers.MaskedMean()])
    model = mtl.build_model(ids, mtl.trunks.HardSharing(encoder), [T.Regression("stars")])
    together = model.answer(TEXTS, ids_of_words, batch_size=2)["stars"]["raw"]
    alone = [model.answer([text], ids_of_words)["stars"]["raw"][0] for text in TEXTS]
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-7)


def test_errors():
    model, words = reader()
    with pytest.raises(ValueError, match="`inputs` must be a list or array of rows.*received str"):
        model.answer("one text", words)
    x = keras.Input((2,))
    with pytest.raises(ValueError, match="`answer` needs task objects"):
        mtl.MultiTaskModel(x, {"a": keras.layers.Dense(1)(x)}).answer(np.ones((1, 2)))


def test_no_rows_at_all(tmp_path):
    model, words = reader()
    for answers in (model.answer([], words), model.answer(words(tf.constant([], tf.string)))):
        assert answers["mood"]["label"].shape == (0,)
        assert answers["ner"]["tags"].shape[0] == 0


def test_a_task_that_locates_says_in_what():
    with pytest.raises(TypeError, match="Chunks defines `locate`, so it must set `locates_in`"):
        type("Chunks", (T.Regression,), {"locate": lambda self, answer, located: {}})


def test_inputs_that_do_not_fit():
    model, words = reader()
    with pytest.raises(ValueError, match="`inputs` must be texts"):
        model.answer([["a"], ["b", "c"]], words)
    with pytest.raises(ValueError, match=r"texts or bytes.*path\.read_bytes"):
        model.answer([Path("a.txt")], words)
    trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([4]))
    dense = mtl.build_model(keras.Input((2,), name="x"), trunk, [T.Regression("price")])
    dense.answer([[1.0, 2.0]], tasks="price")
    with pytest.raises(ValueError, match=r"`inputs` for 'x' must have the shape \(None, 2\), received \(1, 3\)"):
        dense.answer([[1.0, 2.0, 3.0]])
    with pytest.raises(ValueError, match="`inputs` must be numbers.*Pass the `preprocessor`"):
        dense.answer(["text"])
