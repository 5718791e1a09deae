"""Files of adapters: a LoRA step changes nothing else, and they make the same model of the same backbone."""

import keras
import keras_hub
import numpy as np
import pytest

import tf_mtl as mtl

IDS = np.array([[5, 6, 7, 3, 0, 0], [8, 3, 0, 0, 0, 0], [9, 10, 11, 5, 6, 3], [3, 7, 0, 0, 0, 0]])
X = {"token_ids": IDS, "padding_mask": (IDS != 0).astype("int32")}
Y = {"a": np.array([0, 1, 2, 1]), "b": np.array([0.1, 2.0, -1.0, 0.3])}
TRUNKS = {
    "LoRA": lambda encoder: mtl.trunks.LoRA(encoder, rank=2, kernels=["query", "value"]),
    "MTLLoRA": lambda encoder: mtl.trunks.MTLLoRA(encoder, rank=2, kernels=["query", "value"]),
}


def gpt2():
    return keras_hub.models.GPT2Backbone(
        20, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16, max_sequence_length=8
    )


def adapted(trunk, units=3):
    backbone = gpt2()
    for index, v in enumerate(backbone.weights):  # as if it were pretrained
        v.assign(np.random.default_rng(index).normal(size=v.shape) * 0.3)
    encoder = mtl.encoders.BackboneEncoder(backbone, pooling="last", trainable=False)
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in X}
    tasks = [mtl.tasks.Classification("a", labels=units), mtl.tasks.Regression("b")]
    model = mtl.build_model(inputs, TRUNKS[trunk](encoder), tasks)
    model.compile(keras.optimizers.Adam(0.01))
    return model, backbone


@pytest.mark.parametrize("trunk", TRUNKS)
def test_a_backbone_with_adapters(trunk, tmp_path):
    model, backbone = adapted(trunk)
    before = [v.numpy() for v in backbone.weights]
    model.fit(X, Y, epochs=3, verbose=0)
    for old, v in zip(before, backbone.weights, strict=True):
        np.testing.assert_array_equal(v, old)
    assert len(model.trainable_variables) > 4
    path = tmp_path / "adapters.npz"
    mtl.save_trained_weights(model, path)
    with np.load(path) as file:
        assert sum(value.size for value in file.values()) == sum(v.numpy().size for v in model.trainable_variables)
    other, _ = adapted(trunk)
    expected = model.predict(X, verbose=0)
    assert np.abs(other.predict(X, verbose=0)["a"] - expected["a"]).max() > 1e-3
    mtl.load_trained_weights(other, path)
    for task, output in other.predict(X, verbose=0).items():
        np.testing.assert_array_equal(output, expected[task])


def test_errors(tmp_path):
    model, _ = adapted("LoRA")
    path = tmp_path / "adapters.npz"
    mtl.save_trained_weights(model, path)
    wider, _ = adapted("LoRA", units=5)
    before = wider.get_weights()
    with pytest.raises(
        ValueError, match=r"there is 'a/kernel' of the shape \(8, 3\), in its place the model has 'a/kernel' of"
    ):
        mtl.load_trained_weights(wider, path)
    for old, new in zip(before, wider.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    model.trainable = False
    model.trainable = True  # of all its layers
    with pytest.raises(ValueError, match="freeze the same layers"):
        mtl.load_trained_weights(model, path)
    small = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False, name="kind")])
    mtl.save_trained_weights(small, path)
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False, name="mood")])
    with pytest.raises(
        ValueError, match="there is 'sequential.*/kind/kernel' .*the model has 'sequential.*/mood/kernel'"
    ):
        mtl.load_trained_weights(other, path)
    whole = path.read_bytes()
    np.savez(path, kernel=np.zeros((2, 1)))
    foreign = path.read_bytes()
    np.save(tmp_path / "one.npy", np.zeros((2, 1)))
    for content in (whole[:100], b"", foreign, (tmp_path / "one.npy").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is damaged or another file"):
            mtl.load_trained_weights(small, path)
    with pytest.raises(FileNotFoundError):
        mtl.load_trained_weights(model, tmp_path / "other.npz")
    for call in (mtl.save_trained_weights, mtl.load_trained_weights):
        with pytest.raises(ValueError, match="^`path` must end with '.npz'"):
            call(model, tmp_path / "adapters")
    model.trainable = False
    with pytest.raises(ValueError, match="must have weights that are not frozen"):
        mtl.save_trained_weights(model, tmp_path / "none.npz")


def test_what_is_trained_inside_a_frozen_layer_is_saved(tmp_path):
    backbone = gpt2()
    encoder = mtl.encoders.BackboneEncoder(backbone, pooling="last", trainable=False)
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in X}
    model = mtl.build_model(inputs, mtl.trunks.HardSharing(encoder), [mtl.tasks.Regression("a")])
    backbone.get_layer("transformer_layer_1").trainable = True
    mtl.save_trained_weights(model, tmp_path / "block.npz")
    with np.load(tmp_path / "block.npz") as file:
        paths = [name.split(" ", 1)[1] for name in file]
    assert paths == [v.path for v in model.trainable_variables]
    assert len(paths) > 10


def test_statistics_are_saved_and_other_types_kept(tmp_path):
    inputs = keras.Input((3,))
    frozen = keras.layers.Dense(4, name="frozen", trainable=False)
    x = keras.layers.BatchNormalization(name="statistics")(frozen(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, dtype="bfloat16", name="head")(x))
    model.get_layer("head").kernel.assign(np.full((4, 1), 0.5))
    model.get_layer("statistics").moving_mean.assign([1.0, 2.0, 3.0, 4.0])
    mtl.save_trained_weights(model, tmp_path / "some.npz")
    model.get_layer("head").kernel.assign(np.zeros((4, 1)))
    model.get_layer("statistics").moving_mean.assign(np.zeros(4))
    kernel = np.full((3, 4), 7.0)
    frozen.kernel.assign(kernel)
    mtl.load_trained_weights(model, tmp_path / "some.npz")
    np.testing.assert_array_equal(model.get_layer("statistics").moving_mean, [1, 2, 3, 4])
    assert np.asarray(model.get_layer("head").kernel, "float32").tolist() == [[0.5]] * 4
    np.testing.assert_array_equal(frozen.kernel, kernel)
