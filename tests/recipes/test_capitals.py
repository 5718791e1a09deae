"""Capital letters as an input of a lower-case BERT."""

import capitals
import keras
import keras_hub
import numpy as np
import tensorflow as tf

import tf_mtl as mtl

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ann", "##a", "in", "rome"]


def preprocessor():
    tokenizer = keras_hub.models.BertTokenizer(VOCABULARY, lowercase=True)
    return capitals.CapitalizedSubwords(mtl.text.Subwords(tokenizer, length=8))


def bert():
    keras.utils.set_random_seed(0)
    backbone = keras_hub.models.BertBackbone(
        len(VOCABULARY), num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16, dropout=0
    )
    return mtl.encoders.BackboneEncoder(backbone, name="bert")


def test_capitals_belong_to_all_tokens_of_a_word():
    rows = preprocessor()(["Anna in Rome", "anna", ""])
    assert rows["token_ids"][0].numpy().tolist() == [2, 5, 6, 7, 8, 3, 0, 0]
    assert rows["capitals"].numpy()[:, :5].tolist() == [[0, 1, 1, 0, 1], [0] * 5, [0] * 5]
    truncated = preprocessor().with_length(5)(["Anna in Rome"])
    assert truncated["capitals"].numpy()[0, :4].tolist() == [0, 1, 1, 0]


def test_capitals_of_other_alphabets():
    words = tf.ragged.constant([["Ödön", "Élan", "iPhone", "Москва", "3D"]])
    assert preprocessor().encode(words)["capitals"].to_list()[0][1:-1] == [1, 1, 0, 1, 0]


def test_capitals_do_not_matter_before_training_and_do_after_it():
    plain = bert()
    encoder = capitals.BertWithCapitals(plain)
    capitals.forget_segments(plain.backbone)
    lower, upper = ({name: x for name, x in preprocessor()([text]).items()} for text in ("anna in", "Anna in"))
    before = [encoder(rows)["sequence"].numpy() for rows in (lower, upper)]
    np.testing.assert_allclose(*before, atol=1e-6)
    np.testing.assert_array_equal(encoder(upper)["word_starts"], upper["word_starts"])
    table = plain.backbone.get_layer("segment_embedding").embeddings
    table.assign(table + tf.constant([[0.0], [1.0]]) * tf.random.normal([2, 8], seed=1))
    assert np.abs(encoder(lower)["sequence"] - encoder(upper)["sequence"]).max() > 0.01


def test_stages_and_saving(tmp_path):
    prepared, encoder = preprocessor(), capitals.BertWithCapitals(bert())
    rows = prepared(["Anna in Rome"])
    features = rows
    for stage in encoder.stages:
        features = stage(features)
    np.testing.assert_allclose(features["sequence"], encoder(rows)["sequence"], atol=1e-5)
    task = mtl.tasks.Tagging("entities", ["O", "B-person", "B-place"])
    model = mtl.build_model(prepared.inputs(), mtl.trunks.HardSharing(encoder), [task])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    expected = model.answer(["Anna in Rome"], prepared)["entities"]["scores"]
    again = capitals.CapitalizedSubwords.from_config(prepared.get_config())
    np.testing.assert_allclose(loaded.answer(["Anna in Rome"], again)["entities"]["scores"], expected, atol=1e-6)
