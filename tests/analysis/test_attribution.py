"""Integrated gradients: exact on linear models, complete on others, for floats, columns, tokens and raw texts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.analysis._intercepted import intercepted

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 4)).astype("float32")
IDS = RNG.integers(1, 20, (3, 6)) * (np.arange(6) < np.array([[6], [4], [5]]))


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)


def vectors(encoder):
    tasks = [mtl.tasks.Regression("price", scale=3.0, offset=1.0), mtl.tasks.Classification("topic", ["news", "sport"])]
    return mtl.build_model(keras.Input((4,), name="x"), mtl.trunks.HardSharing(encoder), tasks)


def randomize(model, scale=0.5):
    for variable in model.trainable_variables:
        variable.assign(scale * RNG.normal(size=variable.shape))


def is_complete(result, outputs):
    """Whether contributions sum to the difference of outputs, the first of which are those of the model."""
    np.testing.assert_allclose(result.outputs, outputs, rtol=1e-4, atol=1e-5)
    differences = result.outputs - result.baselines
    sums = sum(each.reshape(len(outputs), -1).sum(1) for each in result.values.values())
    np.testing.assert_allclose(sums, differences, atol=min(1e-3, 0.02 * np.abs(differences).max()))
    np.testing.assert_allclose(result.gaps, differences - sums, atol=1e-9)


@pytest.mark.parametrize("steps", [1, 10])
def test_linear_models_give_weights_times_inputs(steps):
    model = vectors(keras.layers.Identity())
    weights = 3 * model.get_layer("price_standardised").kernel.numpy()[:, 0]  # in the labels' units
    baseline = np.array([0.5, 0.0, -1.0, 2.0])
    result = mtl.analysis.attribution(model, X, "price", baseline=baseline, steps=steps)
    np.testing.assert_allclose(result.values["x"], weights * (X - baseline), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(result.baselines, np.asarray(model(baseline[None])["price"])[0, 0], rtol=1e-5)


def test_a_square_by_hand():
    """F = (x_1 + x_2)^2 from 0 has the contributions x_i (x_1 + x_2)."""
    x = keras.Input((2,), name="x")
    output = keras.layers.Lambda(lambda x: keras.ops.sum(x, -1, keepdims=True) ** 2, name="a")(x)
    values = np.array([[1.0, 2.0], [-3.0, 1.0]])
    result = mtl.analysis.attribution(mtl.MultiTaskModel(x, {"a": output}), values, "a")
    np.testing.assert_allclose(result.values["x"], values * values.sum(1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize(("output", "index"), [("sport", 1), (0, 0), (None, None)])
def test_contributions_sum_to_the_difference_of_outputs(output, index):
    model = vectors(mtl.encoders.MLPEncoder([8, 8], "tanh", dropout=0.5))
    randomize(model)
    logits = np.asarray(model(X)["topic"])
    result = mtl.analysis.attribution(model, X, "topic", output)
    is_complete(result, logits.max(1) if index is None else logits[:, index])


def test_inputs_that_do_not_matter_contribute_nothing():
    model = vectors([keras.layers.Dense(6, "tanh", name="first")])
    kernel = model.get_layer("first").kernel
    kernel.assign(kernel.numpy() * [[1], [0], [1], [1]])
    values = mtl.analysis.attribution(model, X, "topic").values["x"]
    assert not values[:, 1].any()
    assert values[:, [0, 2, 3]].all()


def test_columns():
    encoder = mtl.encoders.TabularEncoder(["age"], {"job": 5, "city": 9}, dim=4)
    trunk = mtl.trunks.HardSharing([encoder, mtl.encoders.MLPEncoder([8], "tanh")])
    model = mtl.build_model(encoder.inputs(), trunk, [mtl.tasks.BinaryClassification("buys")])
    randomize(model, 1.0)
    x = {"age": np.array([[0.3], [-1.2]]), "job": np.array([[4], [0]]), "city": np.array([[1], [9]])}
    result = mtl.analysis.attribution(model, x, "buys", baseline={"age": 0.1})
    assert {name: each.shape for name, each in result.values.items()} == dict.fromkeys(x, (2, 1))
    is_complete(result, np.asarray(model(x)["buys"])[:, 0])
    assert result.values["city"][1] == 0  # 9 is no index of a city, so its vector is the baseline


def text_tasks():
    return [
        mtl.tasks.Classification("topic", labels=3, hidden_units=4),
        mtl.tasks.Tagging("tags", labels=["O", "B-x"], crf=True),
        mtl.tasks.MaskedLM("lm", 20),
    ]


def test_token_ids_of_a_nested_backbone():
    import keras_hub

    backbone = keras_hub.models.BertBackbone(20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "padding_mask")}
    encoder = mtl.encoders.BackboneEncoder(backbone, token_table=True)  # the table is the output projection, too
    model = mtl.build_model(inputs, mtl.trunks.HardSharing(encoder), text_tasks())
    randomize(model, 0.2)
    x = {"token_ids": IDS, "padding_mask": (IDS > 0).astype("int32")}
    outputs = {task: np.asarray(each) for task, each in model(x).items()}
    for task, output, expected in (
        ("topic", 1, outputs["topic"][:, 1]),
        ("tags", (2, "B-x"), outputs["tags"][:, 2, 1]),
        ("tags", 1, outputs["tags"][:, 1].max(-1)),
        ("lm", (0, 5), outputs["lm"][:, 0, 5]),
    ):
        result = mtl.analysis.attribution(model, x, task, output)
        assert set(result.values) == {"token_ids", "segment_embedding"}
        assert not np.any(result.values["token_ids"][IDS == 0])  # attention and mean leave padding out
        is_complete(result, expected)
    np.testing.assert_array_equal(np.asarray(model(x)["topic"]), outputs["topic"])
    assert not any({"call", "embedded"} & vars(layer).keys() for layer in model._flatten_layers())


def test_a_table_that_is_the_output_projection_too():
    import keras_hub

    table = keras_hub.layers.ReversibleEmbedding(20, 4, embeddings_initializer=keras.initializers.RandomNormal(0, 1))
    ids = keras.Input((6,), dtype="int32", name="ids")
    hidden = keras.layers.Dense(4, "tanh")(table(ids))
    model = mtl.MultiTaskModel(ids, {"lm": table(hidden, reverse=True)})
    result = mtl.analysis.attribution(model, IDS, "lm", (2, 5))
    assert np.abs(result.values["ids"][:, [0, 1, 3, 4, 5]]).max() == 0
    is_complete(result, np.asarray(model(IDS)["lm"])[:, 2, 5])


@pytest.mark.parametrize("trunk", [mtl.trunks.LoRA, mtl.trunks.CrossStitch])
def test_embeddings_that_are_called_for_each_task(trunk):
    encoder = [keras.layers.Embedding(20, 4), keras.layers.Dense(3, "tanh", name="second")]
    model = mtl.build_model(keras.Input((6,), dtype="int32", name="ids"), trunk(encoder), text_tasks()[:2])
    randomize(model)
    result = mtl.analysis.attribution(model, IDS, "topic", 0)
    assert set(result.values) == {"ids"}
    is_complete(result, np.asarray(model(IDS)["topic"])[:, 0])


def test_inputs_that_share_an_embedding():
    encoder = keras.Sequential([keras.layers.Embedding(20, 4), keras.layers.GlobalMaxPooling1D()], name="text")
    towers = mtl.encoders.Towers({"query": encoder, "document": encoder})
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("query", "document")}
    model = mtl.build_model(inputs, mtl.trunks.HardSharing(towers), [mtl.tasks.Regression("score")])
    randomize(model)
    different = mtl.analysis.attribution(model, {"query": IDS[:, :4], "document": IDS}, "score")
    assert {name: each.shape for name, each in different.values.items()} == {"query": (3, 4), "document": (3, 6)}
    same = mtl.analysis.attribution(model, {"query": IDS, "document": IDS}, "score")
    assert list(same.values) == [encoder.layers[0].name]
    for result in (different, same):
        assert np.abs(result.gaps).max() < 1e-3


def test_raw_texts():
    words = mtl.text.Words.learn(["a good film", "a bad one"], length=5)
    encoder = mtl.encoders.TransformerEncoder(words.vocabulary_size, 5, dim=4, layers=1, heads=1)
    tasks = [mtl.tasks.Classification("mood", ["sad", "happy"])]
    model = mtl.build_model(words.inputs(), mtl.trunks.HardSharing(encoder), tasks)
    randomize(model)
    result = mtl.analysis.attribution(model, ["A bad film!", "good"], "mood", "happy", preprocessor=words)
    assert result.tokens.tolist() == [["a", "bad", "film", "[UNK]", ""], ["good", "", "", "", ""]]
    assert not result.values["token_ids"][result.tokens == ""].any()
    is_complete(result, np.asarray(model(words(["A bad film!", "good"]))["mood"])[:, 1])


def test_tokens_of_subwords():
    import keras_hub

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "so", "it", "go", "##es"]
    subwords = mtl.text.Subwords(keras_hub.tokenizers.BertTokenizer(vocabulary, lowercase=True), length=6)
    tokens = subwords.tokens(subwords(["So it goes", "now"])["token_ids"]).tolist()
    assert tokens == [["[CLS]", "so", "it", "go", "##es", "[SEP]"], ["[CLS]", "[UNK]", "[SEP]", *["[PAD]"] * 3]]


def test_layers_are_restored_after_an_error():
    layer = keras.layers.Dense(2)
    with pytest.raises(ZeroDivisionError), intercepted([(layer, "call"), (layer, "call")], lambda *_: 1 / 0):
        layer(X)
    assert "call" not in vars(layer)
    assert layer(X).shape == (5, 2)


def test_ids_that_are_floats():
    model = vectors([keras.layers.Embedding(20, 3), keras.layers.Flatten()])
    with pytest.raises(ValueError, match="inputs of integers where it embeds them"):
        mtl.analysis.attribution(model, 9 * np.ones((2, 4)), "price", steps=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "topics"}, "unknown key 'topics'.*Did you mean 'topic'"),
        ({"output": "spart"}, "must name a class of the task.*Did you mean 'sport'"),
        ({"output": 2}, r"index of one number in each row's output.*received 2 for the shape \[2\]"),
        ({"output": (0, 0)}, "index of one number in each row's output"),
        ({"output": -1}, "`output` must be an integer"),
        ({"steps": 0}, "`steps` must be an integer"),
        (
            {"baseline": np.ones(3)},
            r"`baseline` for 'x' must fit the inputs of shape \(5, 4\), received the shape \(3,\)",
        ),
    ],
)
def test_arguments_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        mtl.analysis.attribution(vectors(mtl.encoders.MLPEncoder([3])), X, **{"task": "topic", **arguments})


def test_inputs_that_are_neither_floats_nor_embedded():
    x = keras.Input((3,), dtype="int32", name="x")
    outputs = {"a": keras.layers.Dense(1, name="a")(keras.layers.Rescaling(2.0)(x))}
    with pytest.raises(ValueError, match="must have float inputs, or layers that embed integers"):
        mtl.analysis.attribution(mtl.MultiTaskModel(x, outputs), tf.ones((2, 3), "int32"), "a")
    with pytest.raises(ValueError, match=r"`baseline` must be that of float inputs, \[\], received 'x'"):
        mtl.analysis.attribution(mtl.MultiTaskModel(x, outputs), tf.ones((2, 3), "int32"), "a", baseline=1)
