"""Two towers of texts: separate sequences, and a signature for each tower that needs only its own text."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

QUERIES, DOCUMENTS = ["who saw it", "where", "what is red"], ["she saw it", "in Rome", "the rose is red"]


def texts(length=4):
    return mtl.text.TwoTexts(mtl.text.Words.learn([*QUERIES, *DOCUMENTS], length), pair=("query", "document"))


def build(preprocessor, shared):
    def encoder(name):
        return mtl.encoders.RecurrentEncoder(preprocessor.vocabulary_size, dim=6, units=4, name=name)

    one = encoder("encoder")
    towers = mtl.encoders.Towers({"query": one, "document": one if shared else encoder("document_encoder")})
    tasks = [mtl.tasks.Matching("match", units=5), mtl.tasks.Classification("fits", labels=2)]
    return mtl.build_model(preprocessor.inputs(), mtl.trunks.HardSharing(towers), tasks)


def test_both_texts_are_encoded_by_themselves(tmp_path):
    preprocessor = texts()
    rows = preprocessor({"query": QUERIES, "document": DOCUMENTS})
    assert list(rows) == list(preprocessor.names) == ["query_token_ids", "document_token_ids"]
    for name, part in (("query", QUERIES), ("document", DOCUMENTS)):
        np.testing.assert_array_equal(rows[f"{name}_token_ids"], preprocessor.preprocessor(part)["token_ids"])
    mtl.text.save(preprocessor.with_length(3), tmp_path / "texts")
    loaded = mtl.text.load(tmp_path / "texts")
    assert loaded({"query": QUERIES, "document": DOCUMENTS})["document_token_ids"].shape == (3, 3)
    with pytest.raises(ValueError, match="must encode single texts"):
        mtl.text.TwoTexts(mtl.text.Words(["a"], 3, pair=("a", "b")), pair=("query", "document"))


def test_pairs_of_records_train_and_are_answered():
    preprocessor = texts()
    records = tf.data.Dataset.from_tensor_slices(
        {"query": QUERIES, "document": DOCUMENTS, "match": [0, 1, 2], "fits": ["1", "0", ""]}
    )
    model = build(preprocessor, shared=True)
    with pytest.warns(UserWarning, match="1 of 3 pairs of texts are longer than 3 tokens.*Lost: 1 words"):
        mtl.data.encode_text(records, preprocessor.with_length(3), model.tasks, text=("query", "document"))
    rows = mtl.data.encode_text(records, preprocessor, model.tasks, text=("query", "document"))
    model.compile(keras.optimizers.Adam(0.05))
    batches = mtl.data.batch_by_length(rows, 3)
    model.fit(batches, epochs=40, verbose=0)
    assert model.evaluate(batches, return_dict=True, verbose=0)["match_recall@1"] == 1
    answer = model.answer({"query": QUERIES, "document": DOCUMENTS}, preprocessor)["match"]
    np.testing.assert_allclose(answer["score"], (answer["query"] * answer["document"]).sum(1), rtol=1e-5)


@pytest.mark.parametrize("shared", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_tower_is_a_signature_that_needs_its_own_text_alone(shared, tmp_path):
    preprocessor = texts()
    model = build(preprocessor, shared)
    pairs = {"query": QUERIES, "document": DOCUMENTS}
    path = mtl.export.saved_model(model, tmp_path / "pairs", preprocessor=preprocessor, warmup=pairs)
    loaded = tf.saved_model.load(str(path))
    served = loaded.signatures
    assert {"match", "match_query", "match_document", "tensors_match_query"} <= set(served)
    answer = model.answer(pairs, preprocessor)["match"]
    for name, part in pairs.items():
        signature = served[f"match_{name}"]
        assert list(signature.structured_input_signature[1]) == [name]
        assert list(served[f"tensors_match_{name}"].structured_input_signature[1]) == [f"{name}_token_ids"]
        outputs = signature(**{name: tf.constant(part)})
        assert list(outputs) == [f"match_{name}"]
        np.testing.assert_allclose(outputs[f"match_{name}"], answer[name], atol=1e-6)
    others = model.count_params() - tf.add_n([tf.size(v) for v in served["match_query"].variables]).numpy()
    assert others >= (6 * 5 if shared else model.count_params() / 3)
    mtl.export.check(path, model, preprocessor=preprocessor)


def test_towers_of_arrays(tmp_path):
    inputs = {name: keras.Input((3,), name=name) for name in ("query", "document")}
    encoder = mtl.encoders.Towers({name: mtl.encoders.MLPEncoder([4], name=name + "_mlp") for name in inputs})
    model = mtl.build_model(inputs, mtl.trunks.HardSharing(encoder), [mtl.tasks.Matching("match", units=2)])
    path = mtl.export.saved_model(model, tmp_path / "arrays")
    loaded = tf.saved_model.load(str(path))
    served = loaded.signatures["match_document"]
    x = {name: np.random.default_rng(1).normal(size=(2, 3)).astype("float32") for name in inputs}
    vectors = served(document=tf.constant(x["document"]))["match_document"]
    np.testing.assert_allclose(vectors, model.predict(x, verbose=0)["match"][:, 2:], atol=1e-6)
