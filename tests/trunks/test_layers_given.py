"""Layers that users pass to trunks: adapted, frozen, tied, reused, and pooling layers."""

import keras
import numpy as np
import pytest

import tf_mtl as mtl

T, L = mtl.trunks, keras.layers
X = np.random.default_rng(0).normal(5, 3, size=(64, 5)).astype("float32")
TASKS = [mtl.tasks.Regression(task) for task in ("a", "b")]


def build(trunk, inputs=None):
    return mtl.build_model(keras.Input((5,)) if inputs is None else inputs, trunk, TASKS)


@pytest.mark.parametrize("trunk", [T.CrossStitch, T.SoftSharing, T.LearningToBranch])
def test_copies_of_an_adapted_normalization(trunk, tmp_path):
    norm = L.Normalization()
    norm.adapt(X)
    model = build(trunk([norm, L.Dense(4)]))
    copies = [layer for layer in model.layers if isinstance(layer, L.Normalization)]
    assert len(copies) == 2
    for layer in copies:
        assert abs(np.mean(layer(X))) < 1e-3
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(X, verbose=0)["a"], model.predict(X, verbose=0)["a"], rtol=1e-6)


def test_a_vocabulary_is_not_copied():
    with pytest.raises(ValueError, match="'lookup' has a vocabulary.*in the data pipeline"):
        T.CrossStitch([L.StringLookup(vocabulary=["x"], name="lookup")])(keras.Input((), dtype="string"), ["a", "b"])


@pytest.mark.parametrize("trunk", [T.CrossStitch, T.Adapters, T.TaskConditioned])
def test_the_stages_of_a_frozen_encoder_are_frozen(trunk, tmp_path):
    model = build(trunk(mtl.encoders.MLPEncoder([4, 4], trainable=False)))
    assert not [v for v in model.trainable_variables if "mlp_encoder" in v.path]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert len(loaded.trainable_variables) == len(model.trainable_variables)


def test_a_frozen_backbone_stays_frozen():
    backbone = keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(4, 3)])
    backbone.trainable = False
    assert mtl.encoders.BackboneEncoder(backbone).trainable_variables == []


def test_an_encoder_used_both_stage_by_stage_and_whole():
    encoder = mtl.encoders.MLPEncoder([4, 4])
    stages = build(T.TaskConditioned(encoder))
    whole = build(T.HardSharing(encoder))
    for model in (stages, whole):
        assert {id(v) for v in encoder.weights} < {id(v) for v in model.weights}


def test_lora_rejects_losses_of_the_encoder_and_accepts_a_sequential():
    with pytest.raises(ValueError, match="`encoder` of LoRA must not add losses"):
        build(T.LoRA([L.Dense(4, activity_regularizer="l2")]))
    with pytest.raises(TypeError, match="`kernels` must be a list.*'query'"):
        T.LoRA(L.Dense(4), kernels="query")
    for encoder in (keras.Sequential([L.Dense(4), L.Dense(3)]), [[L.Dense(4)], L.Dense(3)]):
        model = build(T.LoRA(encoder, rank=2))
        shapes = sorted(tuple(v.shape) for v in model.get_layer("lora_a").weights)
        assert shapes == [(2, 3), (2, 4), (4, 2), (5, 2)]
    table = mtl.encoders.TabularEncoder(["n"], {"c": 3}, dim=2)
    model = build(T.LoRA([table, L.Dense(4)]), table.inputs())
    assert model.predict({"n": np.ones(2), "c": np.ones(2)}, verbose=0)["a"].shape == (2, 1)


def test_a_tower_that_pools():
    encoder = mtl.encoders.TransformerEncoder(20, 8, dim=8, layers=1, heads=2)
    trunk = T.MMoE(encoder.stages, L.Dense(8), experts=2, tower=L.LSTM(4))
    assert sorted(trunk(keras.Input((None,), dtype="int32"), ["a"])["a"]) == ["pooled"]
    model = build(trunk, keras.Input((None,), dtype="int32"))
    assert model.predict(np.ones((4, 6), "int32"), verbose=0)["a"].shape == (4, 1)


def test_tied_stages_are_described():
    dense = L.Dense(5)
    model = build(T.Hierarchical([dense, dense], {"a": 0, "b": 1}))
    sharing = model.describe_sharing(print_fn=None)
    assert sharing.parameters == 30 + 2 * 6
    assert sharing.single_task == {"a": 36, "b": 36}
