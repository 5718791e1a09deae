"""Linear heads on frozen layers: what they learn, on which layers, and what they leave unchanged."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.analysis._layer_outputs import find_layers, layer_outputs

RNG = np.random.default_rng(0)
X = RNG.normal(size=(256, 4)).astype("float32")
Y = {"sign": (X[:, 0] > 0).astype("int32"), "sum": X.sum(1)}
IDS = RNG.integers(1, 20, (16, 8)) * (np.arange(8) < RNG.integers(3, 9, (16, 1)))


def build(layers=None, trunk=mtl.trunks.HardSharing):
    keras.utils.set_random_seed(0)
    tasks = [
        mtl.tasks.Classification("sign", labels=2, hidden_units=7, dropout=0.5),
        mtl.tasks.Regression("sum", scale=2.0),
    ]
    return mtl.build_model(keras.Input((4,)), trunk(layers or mtl.encoders.MLPEncoder([16, 8], dropout=0.3)), tasks)


def state(model):
    return [(layer.name, layer.trainable, sorted(vars(layer))) for layer in model._flatten_layers()]


def test_layers_that_keep_or_lose_what_a_task_needs():
    """The second layer passes on the first input alone: the sign can be read off it, the sum cannot."""
    first = keras.layers.Dense(4, use_bias=False, name="all", trainable=False)
    second = keras.layers.Dense(1, use_bias=False, name="one")
    model = build([first, second])
    first.set_weights([np.eye(4)])
    second.set_weights([np.eye(4)[:, :1]])
    weights, before = model.get_weights(), state(model)
    is_labelled = np.arange(256) % 2 == 0
    labels = {**Y, "sum": np.where(is_labelled, Y["sum"], np.nan)}
    train = tf.data.Dataset.from_tensor_slices((X, labels, {"sum": is_labelled.astype("float32")})).batch(32)
    probes = mtl.analysis.probe(model, train, (X, Y), layers=["all", "one"], epochs=30)
    assert not probes.left_out
    results = probes.results
    assert results["all"]["sum"]["rmse"] < 0.2
    assert results["one"]["sum"]["rmse"] == pytest.approx(X[:, 1:].sum(1).std(), rel=0.1)  # the rest of the sum
    assert min(results[layer]["sign"]["accuracy"] for layer in results) > 0.9
    assert {"loss", "mae", "rmse", "pearson"} == set(results["all"]["sum"])
    assert str(probes).splitlines()[0].startswith("| layer | sign")
    for one, other in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert state(model) == before


def test_stages_of_encoders_and_what_heads_read_are_the_default():
    def default(model):
        return [layer.name for layer in find_layers(model, None)]

    assert default(build()) == ["mlp_encoder_dropout_0", "mlp_encoder"]
    assert default(build(trunk=mtl.trunks.CrossStitch)) == ["cross_stitch_1"]
    assert default(build(trunk=mtl.trunks.Adapters)) == ["adapter_1_sign", "adapter_1_sum"]
    experts = mtl.trunks.MMoE(mtl.encoders.MLPEncoder([6, 5]), keras.layers.Dense(3), experts=2)
    assert default(build(trunk=lambda _: experts)) == [
        "mlp_encoder_dense_0",
        "mlp_encoder",
        "mixture_sign",
        "mixture_sum",
    ]


def test_heads_that_are_left_out():
    """Those that read other tasks, and those of sequences on a layer with vectors, such as the dropout of a head."""
    tasks = [
        mtl.tasks.Tagging("tags", labels=3, scheme="none"),
        mtl.tasks.Classification("topic", labels=2, dropout=0.5),
        mtl.tasks.Regression("mood", after=["topic"]),
    ]
    inputs = {name: keras.Input((8,), dtype="int32", name=name) for name in ("token_ids", "word_starts")}
    encoder = mtl.encoders.TransformerEncoder(20, 8, dim=8, layers=1, heads=2, name="text")
    model = mtl.build_model(inputs, mtl.trunks.HardSharing(encoder), tasks)
    assert [layer.name for layer in find_layers(model, None)] == ["text_embedding", "text"]
    x = {"token_ids": IDS, "word_starts": (IDS % 2 == 1).astype("int32")}
    y = {"tags": np.zeros((16, 8), "int32"), "topic": IDS[:, 0] % 2, "mood": np.ones(16)}
    probes = mtl.analysis.probe(model, (x, y), (x, y), layers=["text", "topic_dropout"], epochs=1)
    assert {layer: list(tasks) for layer, tasks in probes.results.items()} == {
        "text": ["tags", "topic"],
        "topic_dropout": ["topic"],
    }
    assert list(probes.left_out["text"]) == ["mood"]
    assert "text, mood: the head reads other tasks" in str(probes)
    assert "reads features['sequence'], but the encoder gives ['pooled']" in probes.left_out["topic_dropout"]["tags"]


def test_a_vector_is_the_mean_over_tokens_without_padding():
    """Of a layer with a bare sequence, whose padding the mask of the encoder marks."""
    inputs = {"token_ids": keras.Input((8,), dtype="int32", name="token_ids")}
    trunk = mtl.trunks.Adapters(mtl.encoders.TransformerEncoder(20, 8, dim=4, layers=1, heads=1), bottleneck=2)
    model = mtl.build_model(inputs, trunk, [mtl.tasks.Regression("count")])
    layer = model.get_layer("adapter_1_count")
    features = layer_outputs(model, [layer])({"token_ids": tf.constant(IDS)})["adapter_1_count"]
    np.testing.assert_array_equal(features["mask"], IDS > 0)
    sequence = np.asarray(features["sequence"])
    means = [row[: (ids > 0).sum()].mean(0) for row, ids in zip(sequence, IDS, strict=True)]
    np.testing.assert_allclose(features["pooled"], means, rtol=1e-4, atol=1e-6)


def test_maps_and_layers_that_are_called_twice():
    encoder = [keras.layers.Conv2D(3, 3, name="first"), keras.layers.Conv2D(2, 3, name="second")]
    trunk = mtl.trunks.Adapters(encoder, bottleneck=2)
    tasks = [mtl.tasks.Regression("a"), mtl.tasks.Regression("b")]
    model = mtl.build_model(keras.Input((8, 8, 3)), trunk, tasks)
    x = RNG.normal(size=(2, 8, 8, 3)).astype("float32")
    features = layer_outputs(model, encoder)(x)
    assert list(features) == ["first", "second/0", "second/1"]
    np.testing.assert_allclose(features["first"]["map"], encoder[0](x), rtol=1e-5)
    np.testing.assert_allclose(features["first"]["pooled"], np.mean(encoder[0](x), (1, 2)), rtol=1e-4, atol=1e-6)


def test_arguments_that_do_not_fit():
    model = build()
    with pytest.raises(ValueError, match="received 'mlp_encodr'. Did you mean 'mlp_encoder'"):
        mtl.analysis.probe(model, (X, Y), (X, Y), layers=["mlp_encodr"])
    with pytest.raises(ValueError, match="`epochs` must be an integer"):
        mtl.analysis.probe(model, (X, Y), (X, Y), epochs=0)
    with pytest.raises(ValueError, match="`test` must end"):
        mtl.analysis.probe(model, (X, Y), tf.data.Dataset.from_tensors((X, Y)).repeat())
    tokens = mtl.build_model(
        keras.Input((8,), dtype="int32", name="ids"),
        mtl.trunks.HardSharing([keras.layers.Identity(name="same"), keras.layers.Embedding(20, 4)]),
        [mtl.tasks.Classification("topic", labels=2)],
    )
    data = IDS, {"topic": IDS[:, 0] % 2}
    with pytest.raises(ValueError, match="outputs that are features, received 'same'"):
        mtl.analysis.probe(tokens, data, data, layers=["same"])
