"""Contracts of every public task and encoder; a public task, encoder or trunk without an example fails."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from trunk_examples import TRUNKS, ids, images, vectors

import tf_mtl as mtl

BERT = {"vocabulary_size": 20, "num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}


def backbone():
    import keras_hub

    return keras_hub.models.BertBackbone(**BERT, max_sequence_length=8)


def gpt2():
    import keras_hub

    return keras_hub.models.GPT2Backbone(**BERT, max_sequence_length=16)


def bert_data(rows):
    return {"token_ids": ids(rows), "padding_mask": ids(rows) != 0}


def bert_inputs():
    return {name: keras.Input((8,), dtype="int32", name=name) for name in ("token_ids", "padding_mask")}


def table(rows):
    return {"age": vectors(rows)[:, 0], "job": np.arange(rows) % 3}


def table_inputs():
    return {"age": keras.Input((1,), name="age"), "job": keras.Input((1,), dtype="int32", name="job")}


def pair(rows):
    return {"query": ids(rows), "document": np.where(ids(rows), ids(rows) % 19 + 1, 0)}


def pair_inputs():
    return {name: keras.Input((8,), dtype="int32", name=name) for name in ("query", "document")}


def towers():
    encoder = mtl.encoders.RecurrentEncoder(20, dim=6, units=4, dropout=0.0)
    return mtl.encoders.Towers({"query": encoder, "document": encoder})


def small_tokenizer():
    """A tokenizer of 12 tokens, and the length of texts."""
    import keras_hub

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefg"]
    return keras_hub.tokenizers.BertTokenizer(vocabulary, lowercase=True), 6


def text_tokens():
    return np.array([[5, 6, 7, 3, 0, 0], [8, 3, 0, 0, 0, 0], [9, 10, 11, 5, 6, 3], [3, 0, 0, 0, 0, 0]])


TASKS = {  # a task and labels for four rows
    mtl.tasks.Classification: (lambda: mtl.tasks.Classification("t", labels=3), [0, 1, 2, 1]),
    mtl.tasks.Ordinal: (lambda: mtl.tasks.Ordinal("t", levels=4), [0, 3, 1, 2]),
    mtl.tasks.BinaryClassification: (lambda: mtl.tasks.BinaryClassification("t"), [0, 1, 1, 0]),
    mtl.tasks.Matching: (lambda: mtl.tasks.Matching("t", units=4, temperature=0.5, limit=8), [0, 1, 2, 3]),
    mtl.tasks.MultiLabel: (
        lambda: mtl.tasks.MultiLabel("t", labels=["a", "b"], pos_weight=[2.0, 1.0]),
        [[0, 1], [1, 1], [0, 0], [1, 0]],
    ),
    mtl.tasks.Regression: (lambda: mtl.tasks.Regression("t", scale=2.0, low=0.0), [0.5, 1.0, 2.0, 3.0]),
    mtl.tasks.Ranking: (lambda: mtl.tasks.Ranking("t", k=2), [[0, 1, 2], [1, 0, 0], [0, 0, 0], [2, 0, 1]]),
    mtl.tasks.Tagging: (
        lambda: mtl.tasks.Tagging("t", labels=["O", "B-a", "I-a"], crf=True),
        np.arange(32).reshape(4, 8) % 3,
    ),
    mtl.tasks.SpanExtraction: (lambda: mtl.tasks.SpanExtraction("t", 3), [[1, 2], [0, 0], [3, 3], [2, 5]]),
    mtl.tasks.MaskedLM: (lambda: mtl.tasks.MaskedLM("t", 20, tied=False), np.arange(32).reshape(4, 8) % 20),
    mtl.tasks.Generation: (lambda: mtl.tasks.Generation("t", *small_tokenizer()), text_tokens()),
    mtl.tasks.LanguageModel: (
        lambda: mtl.tasks.LanguageModel("t", small_tokenizer()[0], mtl.layers.Decoder(12, 6, dim=4, heads=2)),
        text_tokens(),
    ),
    mtl.tasks.DependencyParse: (
        lambda: mtl.tasks.DependencyParse("t", labels=["root", "a", "b"], arc_units=6, label_units=4),
        np.stack([np.tile([0, 1, 1, 3, 0, 1, 5, 2], (4, 1)), np.arange(32).reshape(4, 8) % 3], -1),
    ),
    mtl.tasks.Conversion: (lambda: mtl.tasks.Conversion("t", after="other", propensity=0.1), [1, 0, 0, 0]),
    mtl.tasks.Count: (lambda: mtl.tasks.Count("t", labels=["a", "b"], mean=2.0), [[1, 2], [0, 3], [4, 0], [1, 1]]),
    mtl.tasks.Detection: (
        lambda: mtl.tasks.Detection("t", ["a", "b"], (16, 16), ["P2"], hidden_units=[4], most=4),
        [[[2, 2, 8, 10, index % 2], [0, 0, 0, 0, -1]] for index in range(4)],
    ),
    mtl.tasks.Segmentation: (
        lambda: mtl.tasks.Segmentation("t", ["a", "b"], (16, 16), units=4),
        np.arange(1024).reshape(4, 16, 16) % 3 % 2,
    ),
    mtl.tasks.Depth: (lambda: mtl.tasks.Depth("t", (16, 16), units=4), 1 + np.arange(1024).reshape(4, 16, 16) % 3),
    mtl.tasks.Normals: (
        lambda: mtl.tasks.Normals("t", (16, 16), units=4),
        np.arange(3072).reshape(4, 16, 16, 3) % 3,
    ),
    mtl.tasks.Keypoints: (
        lambda: mtl.tasks.Keypoints("t", 2, (16, 16), units=4),
        np.arange(16).reshape(4, 2, 2) % 12,
    ),
    mtl.tasks.Relations: (
        lambda: mtl.tasks.Relations("t", labels=["a", "b"], tags=["O", "B-x"], entities="other", units=6),
        np.arange(512).reshape(4, 8, 8, 2) % 5 == 0,
    ),
}
OTHER_TASKS = {  # another task than Classification beside it, for tasks that read one, and its labels
    mtl.tasks.Conversion: (lambda: mtl.tasks.BinaryClassification("other"), [1, 1, 0, 0]),
    mtl.tasks.Relations: (lambda: mtl.tasks.Tagging("other", ["O", "B-x"]), np.arange(32).reshape(4, 8) % 2),
}
ENCODERS = {  # an encoder, its symbolic inputs, and inputs for some rows
    mtl.encoders.MLPEncoder: (lambda: mtl.encoders.MLPEncoder([6, 4], dropout=0.1), lambda: keras.Input((5,)), vectors),
    mtl.encoders.ConvEncoder: (lambda: mtl.encoders.ConvEncoder([4, 6], 0.1), lambda: keras.Input((8, 8, 3)), images),
    mtl.encoders.FeaturePyramid: (
        lambda: mtl.encoders.FeaturePyramid(mtl.encoders.ConvEncoder([4, 6, 6]), ["P1", "P2", "P3"], 4),
        lambda: keras.Input((8, 8, 3)),
        images,
    ),
    mtl.encoders.TabularEncoder: (lambda: mtl.encoders.TabularEncoder(["age"], {"job": 3}), table_inputs, table),
    mtl.encoders.TransformerEncoder: (
        lambda: mtl.encoders.TransformerEncoder(20, 8, dim=8, layers=1, heads=2),
        lambda: keras.Input((8,), dtype="int32"),
        ids,
    ),
    mtl.encoders.BackboneEncoder: (lambda: mtl.encoders.BackboneEncoder(backbone()), bert_inputs, bert_data),
    mtl.encoders.CausalEncoder: (lambda: mtl.encoders.CausalEncoder(gpt2(), 4), bert_inputs, bert_data),
    mtl.encoders.Towers: (towers, pair_inputs, pair),
    mtl.encoders.WithStages: (
        lambda: mtl.encoders.WithStages(mtl.encoders.TransformerEncoder(20, 8, dim=8, layers=1, heads=2)),
        lambda: keras.Input((8,), dtype="int32"),
        ids,
    ),
    mtl.encoders.RecurrentEncoder: (
        lambda: mtl.encoders.RecurrentEncoder(20, dim=6, units=4, layers=2, cell="gru"),
        lambda: keras.Input((8,), dtype="int32"),
        ids,
    ),
}


def pairs(rows):
    documents = vectors(rows)[:, None] * np.array([[1], [2], [-1]], "float32")
    return {"query": vectors(rows), "documents": documents, "is_document": ids(rows)[:, 4:7] != 0}


def pair_inputs():
    documents = {"documents": keras.Input((3, 5), name="documents")}
    return {"query": keras.Input((5,), name="query"), **documents, "is_document": keras.Input((3,), name="is_document")}


def pair_encoder():
    """Candidates that are joined with their query."""
    inputs = pair_inputs()
    query, documents = keras.layers.Dense(4)(inputs["query"]), keras.layers.Dense(4)(inputs["documents"])
    joined = keras.layers.Activation("tanh")(documents + keras.ops.expand_dims(query, 1))
    features = {"candidates": joined, "candidates_mask": inputs["is_document"], "pooled": query}
    return keras.Model(inputs, features)


def words_encoder():
    return mtl.encoders.RecurrentEncoder(20, dim=6, units=4, layers=2, cell="gru")


def pictures(rows):
    return np.random.default_rng(0).normal(size=(rows, 16, 16, 3)).astype("float32")


def map_encoder():
    return mtl.encoders.ConvEncoder([4, 4])


def pyramid_encoder():
    return mtl.encoders.FeaturePyramid(mtl.encoders.ConvEncoder([4, 4, 4]), ["P2"], 4)


OWN_ENCODERS = {  # for tasks whose features no encoder has, or that need a dict of inputs
    pair_encoder: (pair_encoder, pair_inputs, pairs),
    map_encoder: (map_encoder, lambda: keras.Input((16, 16, 3)), pictures),
    pyramid_encoder: (pyramid_encoder, lambda: keras.Input((16, 16, 3)), pictures),
    words_encoder: (
        words_encoder,
        lambda: {"token_ids": keras.Input((8,), dtype="int32", name="token_ids")},
        lambda rows: {"token_ids": ids(rows)},
    ),
}
ENCODER_OF = {  # if not MLPEncoder
    mtl.tasks.Tagging: mtl.encoders.RecurrentEncoder,
    mtl.tasks.DependencyParse: mtl.encoders.RecurrentEncoder,
    mtl.tasks.SpanExtraction: mtl.encoders.RecurrentEncoder,
    mtl.tasks.MaskedLM: mtl.encoders.RecurrentEncoder,
    mtl.tasks.Generation: words_encoder,
    mtl.tasks.LanguageModel: words_encoder,
    mtl.tasks.Conversion: words_encoder,
    mtl.tasks.Detection: pyramid_encoder,
    mtl.tasks.Segmentation: map_encoder,
    mtl.tasks.Depth: map_encoder,
    mtl.tasks.Normals: map_encoder,
    mtl.tasks.Keypoints: map_encoder,
    mtl.tasks.Relations: words_encoder,
    mtl.tasks.Matching: mtl.encoders.Towers,
    mtl.tasks.Ranking: pair_encoder,
}


def public(module, base):
    return {
        c for _, c in inspect.getmembers(module, inspect.isclass) if issubclass(c, base) and not inspect.isabstract(c)
    }


@pytest.mark.parametrize(
    ("module", "base", "examples"),
    [
        (mtl.tasks, mtl.tasks.Task, TASKS),
        (mtl.encoders, keras.layers.Layer, ENCODERS),
        (mtl.trunks, mtl.trunks.Trunk, TRUNKS),
    ],
)
def test_every_public_class_has_an_example(module, base, examples):
    assert public(module, base) == set(examples)


def model_of(task=None, encoder=None, **options):
    make_encoder, inputs, data = {**ENCODERS, **OWN_ENCODERS}[encoder or ENCODER_OF.get(task, mtl.encoders.MLPEncoder)]
    make_task, labels = TASKS[task or mtl.tasks.Regression]
    classification = (lambda: mtl.tasks.Classification("other", labels=2), [0, 1, 0, 1])
    make_other, other_labels = OTHER_TASKS.get(task, classification)
    trunk = mtl.trunks.HardSharing(make_encoder())
    model = mtl.build_model(inputs(), trunk, [make_task(), make_other()])
    model.compile(keras.optimizers.Adam(0.02), **options)
    y = {"t": np.array(labels, "float32"), "other": np.array(other_labels)}
    return model, data(4), y


ALL_CASES = [{"task": c} for c in TASKS] + [{"encoder": c} for c in ENCODERS]


def case_id(case):
    return str(next(iter(case.values())))


@pytest.mark.parametrize("case", ALL_CASES, ids=case_id)
def test_trains_and_saves(case, tmp_path):
    model, x, y = model_of(**case)
    weight = {"t": np.array([1, 0, 1, 1], "float32"), "other": np.ones(4, "float32")}
    logs = model.fit(x, y, sample_weight=weight, epochs=10, verbose=0).history
    assert all(np.isfinite(values).all() for values in logs.values())
    assert np.mean(logs["loss"][5:]) < np.mean(logs["loss"][:5])  # means, because of dropout
    assert set(logs) > {"loss", "t_loss", "other_loss"}

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    predictions = model(x)
    for task, expected in loaded(x).items():
        np.testing.assert_array_equal(expected, predictions[task])
    assert loaded.decode(predictions).keys() == {"t", "other"}


EXPORTED_ENCODERS = (mtl.encoders.TabularEncoder,)  # those with other inputs than the encoders of `TASKS`


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case, marks=[] if case.get("encoder", EXPORTED_ENCODERS[0]) in EXPORTED_ENCODERS else pytest.mark.slow
        )
        for case in ALL_CASES
    ],
    ids=case_id,
)
def test_exports(case, tmp_path):
    model, x, _ = model_of(**case)
    predictions = model(x)
    path = mtl.export.saved_model(model, tmp_path / "export", check=False)
    signature = tf.saved_model.load(str(path)).signatures["t"]
    tensors = x if isinstance(x, dict) else {"inputs": x}
    specs = signature.structured_input_signature[1]
    rows = {name: np.reshape(value, [4, *specs[name].shape[1:]]) for name, value in tensors.items()}
    answers = signature(**{name: tf.cast(value, specs[name].dtype) for name, value in rows.items()})
    for key, expected in model.decode(predictions)["t"].items():
        assert answers[f"t_{key}"].shape[0] == 4
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(answers[f"t_{key}"], expected, rtol=1e-5, atol=1e-6)
    assert len(answers) >= 2  # with a single output, TF Serving's REST interface drops its name


@pytest.mark.parametrize("case", ALL_CASES, ids=case_id)
def test_mixed_precision_gives_float32_outputs(case):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model, x, y = model_of(**case, run_eagerly=True)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {output.dtype for output in model.output.values()} == {"float32"}
    assert model.get_layer("other").compute_dtype == "float32"
    assert "bfloat16" in {layer.compute_dtype for layer in model._flatten_layers()}
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"]).all()


@pytest.mark.parametrize("task", TASKS)
def test_config_of_tasks(task):
    instance = TASKS[task][0]()
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(instance))
    assert type(restored) is task
    assert restored.get_config() == instance.get_config()


@pytest.mark.parametrize("encoder", ENCODERS)
def test_features_of_encoders(encoder):
    make, _, data = ENCODERS[encoder]
    features = make()(data(3))
    if encoder is mtl.encoders.TabularEncoder:
        features = {"pooled": features}
    assert len(features["pooled"].shape) == 2
    if "sequence" in features:
        assert features["sequence"].shape[:2] == features["mask"].shape == (3, 8)
        np.testing.assert_array_equal(features["mask"], ids(3) != 0)


@pytest.mark.parametrize("encoder", [mtl.encoders.TransformerEncoder, mtl.encoders.BackboneEncoder])
def test_padding_and_empty_texts(encoder):
    """Ids of padding do not matter, and a text without any token has finite features."""
    make, _, _ = ENCODERS[encoder]
    layer, texts = make(), ids(2)
    texts[1] = 0
    mask = texts != 0
    inputs = texts if encoder is mtl.encoders.TransformerEncoder else {"token_ids": texts, "padding_mask": mask}
    pooled = np.array(layer(inputs)["pooled"])
    assert np.isfinite(pooled).all()
    sequence = np.array(layer(inputs)["sequence"])
    np.testing.assert_allclose(pooled[0], sequence[0][mask[0]].mean(0), rtol=1e-4, atol=1e-5)
    if isinstance(inputs, dict):
        other = {**inputs, "token_ids": np.where(mask, texts, 7)}
        np.testing.assert_allclose(layer(other)["pooled"][0], pooled[0], rtol=1e-4, atol=1e-5)


def test_keras_models_as_encoders_and_pooling():
    image = keras.Sequential([keras.layers.Conv2D(4, 3)])
    features = mtl.trunks.HardSharing(image)(keras.Input((8, 8, 3)), ["a"])["a"]
    assert (features["map"].shape, features["pooled"].shape) == ((None, 6, 6, 4), (None, 4))
    tokens = keras.layers.Embedding(9, 4, mask_zero=True)
    features = mtl.trunks.HardSharing(tokens)(keras.Input((5,)), ["a"])["a"]
    assert (features["sequence"].shape, features["pooled"].shape) == ((None, 5, 4), (None, 4))
    image_backbone = mtl.encoders.BackboneEncoder(image, trainable=False)
    features = image_backbone(np.ones((2, 8, 8, 3)))
    assert (features["map"].shape, features["pooled"].shape) == ((2, 6, 6, 4), (2, 4))
    assert image_backbone.trainable_variables == []
    first = mtl.encoders.BackboneEncoder(backbone(), pooling="first")(bert_data(2))
    np.testing.assert_array_equal(first["pooled"], first["sequence"][:, 0])
    last = mtl.encoders.BackboneEncoder(backbone(), pooling="last")(bert_data(2))
    np.testing.assert_array_equal(last["pooled"], last["sequence"][:, 5])  # two tokens of padding
    with pytest.raises(ValueError, match="`pooling`.*'max'"):
        mtl.encoders.BackboneEncoder(backbone(), pooling="max")
