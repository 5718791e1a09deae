"""Tagging from raw strings: words, spans and byte offsets in the exported signatures."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

TAGS = ["O", "B-place", "I-place"]
TEXTS = ["Zoë lives in New York, doesn't she?", "", "Rome!", "x " * 40]


def subwords():
    import keras_hub

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "zoe", "lives", "in", "new", "yo", "##rk", "rome", ",", "!"]
    tokenizer = keras_hub.tokenizers.BertTokenizer(pieces, lowercase=True, strip_accents=True)
    return mtl.text.Subwords(tokenizer, 16)


def build(preprocessor, crf):
    encoder = mtl.encoders.RecurrentEncoder(preprocessor.vocabulary_size, dim=8, units=8)
    tasks = [
        mtl.tasks.Tagging("entities", TAGS, crf=crf),
        mtl.tasks.Tagging("pos", 5, scheme="none"),
        mtl.tasks.Classification("topic", 3),
    ]
    keras.utils.set_random_seed(0)
    return mtl.build_model(preprocessor.inputs(), mtl.trunks.HardSharing(encoder), tasks)


@pytest.mark.parametrize(
    ("kind", "crf", "check"),
    [
        ("words", False, False),
        ("subwords", True, False),
        pytest.param("words", True, False, marks=pytest.mark.slow),
        pytest.param("subwords", False, False, marks=pytest.mark.slow),
        pytest.param("subwords", True, True, marks=pytest.mark.slow),
    ],
)
def test_served_words_and_spans_are_in_the_text(kind, crf, check, tmp_path):
    if kind == "words":
        preprocessor = mtl.text.Words(["zoë", "lives", "in", "new", "york", "rome", ",", "!"], 16)
    else:
        preprocessor = subwords()
    model = build(preprocessor, crf)
    for v in model.trainable_variables:
        if v.path.endswith("entities_scores/kernel"):
            v.assign(30 * v)  # so that spans occur
    options = {} if check else {"signatures": {"entities": ["entities"], "pos": ["pos"]}}
    path = mtl.export.saved_model(
        model, tmp_path / "m", preprocessor=preprocessor, warmup=TEXTS, check=check, **options
    )
    loaded = tf.saved_model.load(str(path))
    outputs = {k: v.numpy() for k, v in loaded.signatures["serving_default"](text=tf.constant(TEXTS)).items()}
    expected = model.decode(model(preprocessor(TEXTS)), TEXTS, preprocessor)["entities"]
    for key, value in expected.items():
        output = outputs[f"entities_{key}"]
        if value.dtype.kind == "f":
            np.testing.assert_allclose(output, value, atol=1e-5)
        else:
            np.testing.assert_array_equal(
                np.char.decode(output.astype(bytes)) if value.dtype.kind == "U" else output, value
            )
    span_count = 0
    for row, text in enumerate(TEXTS):
        raw = text.encode()
        words = [w.decode() for w in preprocessor.split([text]).words[0].numpy()][: 16 if kind == "words" else 14]
        assert expected["words"][row].tolist()[: len(words)] == words
        assert [tag for tag in expected["tags"][row] if tag] == expected["tags"][row][: len(words)].tolist()
        for index in np.flatnonzero(expected["span_types"][row]):
            begin, end = (expected[f"span_byte_{key}"][row][index] for key in ("begins", "ends"))
            first, end_word = (expected[f"span_{key}"][row][index] for key in ("begins", "ends"))
            assert raw[begin:end].decode() == expected["span_texts"][row][index]
            assert raw[begin:end].decode().startswith(words[first])
            assert raw[begin:end].decode().endswith(words[end_word - 1])
            span_count += 1
    assert span_count > 2
    assert set(loaded.signatures["pos"].structured_outputs) == {"pos_tags", "pos_scores", "pos_words"}
    assert "entities_span_texts" not in loaded.signatures["tensors_entities"].structured_outputs


def test_decode_needs_both_texts_and_preprocessor():
    preprocessor = mtl.text.Words(["a"], 4)
    model = build(preprocessor, False)
    outputs = model.predict(preprocessor(["a"]), verbose=0)
    with pytest.raises(ValueError, match="`texts` and `preprocessor` together"):
        model.decode(outputs, ["a"])
    for texts in ("a", ["a", "a"]):
        with pytest.raises(ValueError, match="one text per row of `outputs`, {'entities': 1"):
            model.decode(outputs, texts, preprocessor)


def test_outputs_of_different_lengths_are_refused():
    preprocessor = mtl.text.Words(["a"], 4)
    model = build(preprocessor, False)
    rows = tf.data.Dataset.from_generator(
        lambda: ({"token_ids": [2] * n} for n in (1, 3)),
        output_signature={"token_ids": tf.TensorSpec([None], tf.int32)},
    )
    with pytest.raises(ValueError, match="decode each batch"):
        model.decode(model.predict(mtl.data.batch_by_length(rows, 1), verbose=0))
