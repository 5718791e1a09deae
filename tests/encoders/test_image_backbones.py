"""Image models of keras.applications and keras-hub as encoders: levels, saving, batch normalisation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl


def mobile_net():
    return keras.applications.MobileNetV3Small(
        (64, 96, 3), weights=None, include_top=False, include_preprocessing=False
    )


def res_net():
    import keras_hub

    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 8, 8, 8],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=(64, 96, 3),
    )


SIZES = {f"P{level}": (-(-64 // 2**level), -(-96 // 2**level)) for level in range(1, 6)}


@pytest.mark.parametrize(("make", "finest"), [(mobile_net, 1), (res_net, 2)])
def test_levels_and_saving(make, finest, tmp_path):
    encoder = mtl.encoders.BackboneEncoder(make())
    images = np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype("float32")
    features = encoder(images)
    levels = [f"P{level}" for level in range(finest, 6)]
    assert sorted(features) == sorted(["map", "pooled", *levels])
    assert {level: tuple(features[level].shape[1:3]) for level in levels} == {level: SIZES[level] for level in levels}
    np.testing.assert_array_equal(features["P5"], features["map"])
    task = mtl.tasks.Detection("boxes", ["a"], (64, 96), hidden_units=[8])
    pyramid = mtl.encoders.FeaturePyramid(encoder, filters=8)
    model = mtl.build_model(keras.Input((64, 96, 3)), mtl.trunks.HardSharing(pyramid), [task])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(images, verbose=0)["boxes"], model.predict(images, verbose=0)["boxes"])


def trained(normalization, strategy=None, batch=8):
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(1).normal(size=(batch, 16, 16, 3)).astype("float32")
    with (strategy or tf.distribute.get_strategy()).scope():
        inputs = keras.Input((16, 16, 3))
        x = keras.layers.Conv2D(4, 3, 2)(inputs)
        backbone = keras.Model(inputs, keras.layers.BatchNormalization(momentum=0.5)(x))
        encoder = mtl.encoders.BackboneEncoder(backbone, normalization=normalization)
        model = mtl.build_model(keras.Input((16, 16, 3)), mtl.trunks.HardSharing(encoder), [mtl.tasks.Regression("a")])
        model.compile(keras.optimizers.SGD(0.1))
    model.fit(images, {"a": images.mean((1, 2, 3))}, batch_size=batch, epochs=2, verbose=0)
    return model, {v.path.split("/")[-1]: keras.ops.convert_to_numpy(v) for v in model.weights}


def test_frozen_and_synchronized_batch_normalisation(tmp_path):
    model, frozen = trained("freeze")
    assert not frozen["moving_mean"].any()
    assert (frozen["gamma"] == 1).all()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert len(loaded.trainable_weights) == len(model.trainable_weights)
    _, alone = trained("train")
    assert alone["moving_mean"].any()
    strategy = mtl.distribute.strategy("mirrored")
    assert strategy.num_replicas_in_sync > 1
    _, synchronized = trained("synchronize", strategy)
    for name, value in alone.items():
        np.testing.assert_allclose(synchronized[name], value, rtol=1e-3, atol=1e-5)
    _, apart = trained("train", strategy)
    assert np.abs(apart["moving_variance"] - alone["moving_variance"]).max() > 1e-3
    with pytest.raises(ValueError, match="`normalization`.*'frozen'"):
        trained("frozen")


def test_levels_of_sizes_that_round_down_and_gaps():
    images = np.zeros((1, 66, 66, 3), "float32")
    vgg = keras.applications.VGG16(include_top=False, weights=None, input_shape=(66, 66, 3))
    assert sorted(mtl.encoders.BackboneEncoder(vgg)(images)) == ["P1", "map", "pooled"]
    with pytest.raises(ValueError, match="consecutive"):
        mtl.encoders.FeaturePyramid(mtl.encoders.ConvEncoder([4] * 4), ["P1", "P3"])


def images(batch=2, size=(64, 96)):
    return np.random.default_rng(0).normal(size=(batch, *size, 3)).astype("float32")


def in_stages(encoder, x):
    for stage in encoder.stages:
        x = stage(x)
    return x


@pytest.mark.parametrize("make", [mobile_net, res_net])
def test_stages_of_a_backbone_give_its_map(make):
    backbone = make()
    encoder = mtl.encoders.BackboneEncoder(backbone)
    config = backbone.get_config()
    np.testing.assert_allclose(in_stages(encoder, images()), encoder(images())["map"], rtol=1e-5, atol=1e-6)
    assert [stage.output.shape[1:3] for stage in encoder.stages] == [
        SIZES[level] for level in sorted(encoder.backbone.output) if level != "map"
    ]
    assert {id(v) for stage in encoder.stages for v in stage.weights} == {id(v) for v in encoder.weights}
    assert backbone.get_config() == config  # cutting has not changed the backbone's own graph


def test_stages_end_at_named_layers(tmp_path):
    ends = ["expanded_conv_project_bn", "expanded_conv_3_project_bn"]
    encoder = mtl.encoders.BackboneEncoder(mobile_net(), stage_ends=ends)
    assert len(encoder.stages) == 3
    np.testing.assert_allclose(in_stages(encoder, images()), encoder(images())["map"], rtol=1e-5, atol=1e-6)
    tasks = [mtl.tasks.Regression("a"), mtl.tasks.Regression("b")]
    model = mtl.build_model(keras.Input((64, 96, 3)), mtl.trunks.CrossStitch(encoder), tasks)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(images(), verbose=0)["b"], model.predict(images(), verbose=0)["b"])
    assert loaded.trunk.encoder.stage_ends == ends
    with pytest.raises(
        ValueError, match="received 'expanded_conv_3_projec'. Did you mean 'expanded_conv_[0-9]*_project'"
    ):
        mtl.encoders.BackboneEncoder(mobile_net(), stage_ends=["expanded_conv_3_projec"]).stages  # noqa: B018
    inside = mtl.encoders.BackboneEncoder(mobile_net(), stage_ends=["expanded_conv_2_expand"])  # beside a residual sum
    with pytest.raises(ValueError, match="cannot be cut after 'expanded_conv_2_expand'"):
        inside.stages  # noqa: B018


def test_stages_of_patches():
    import keras_hub

    backbone = keras_hub.models.ViTBackbone((32, 32, 3), 8, 2, 2, 16, 16)
    encoder = mtl.encoders.BackboneEncoder(backbone, stage_ends=["vit_patching_and_embedding"])
    x = images(size=(32, 32))
    np.testing.assert_allclose(in_stages(encoder, x), encoder(x)["sequence"], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="has no levels.*Set `stage_ends`"):
        mtl.encoders.BackboneEncoder(backbone).stages  # noqa: B018


def test_backbones_by_name(tmp_path):
    import keras_hub

    named = mtl.encoders.BackboneEncoder.from_name("MobileNetV3Small", (64, 96), weights=False, normalization="freeze")
    assert named(images())["P5"].shape == (2, 2, 3, 576)
    assert named.normalization == "freeze"
    backbone = res_net()
    backbone.save_to_preset(str(tmp_path))
    loaded = mtl.encoders.BackboneEncoder.from_name(str(tmp_path))
    np.testing.assert_allclose(loaded(images())["map"], backbone(images()), rtol=1e-5, atol=1e-6)
    smaller = mtl.encoders.BackboneEncoder.from_name(str(tmp_path), (32, 64), weights=False)
    assert smaller.backbone.input.shape == (None, 32, 64, 3)
    assert smaller(images(size=(32, 64)))["P2"].shape == (2, 8, 16, 64)
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    keras_hub.models.BertBackbone(20, **sizes).save_to_preset(str(tmp_path / "bert"))
    with pytest.raises(ValueError, match="`image_size` must be None for .*BertBackbone"):
        mtl.encoders.BackboneEncoder.from_name(str(tmp_path / "bert"), (32, 32))
    with pytest.raises(ValueError, match="received 'MobilNetV3Small'. Did you mean 'MobileNetV3Small'"):
        mtl.encoders.BackboneEncoder.from_name("MobilNetV3Small", weights=False)


@pytest.mark.parametrize("make", [lambda: mtl.encoders.ConvEncoder([4, 6, 6]), res_net])
def test_a_pyramid_is_the_last_stage(make):
    levels = ["P2", "P3", "P4"]
    backbone = mtl.encoders.BackboneEncoder(make()) if make is res_net else make()
    encoder = mtl.encoders.FeaturePyramid(backbone, levels, 8)
    whole, parts = encoder(images()), in_stages(encoder, images())
    assert {"map", "pooled", *levels} <= {*parts} <= {*whole}
    for name in parts:
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-5, atol=1e-6)
    assert {id(v) for stage in encoder.stages for v in stage.weights} == {id(v) for v in encoder.weights}


@pytest.mark.parametrize(
    "trunk",
    [
        mtl.trunks.CrossStitch,
        mtl.trunks.SoftSharing,
        lambda encoder: mtl.trunks.Adapters(encoder, 2),
        lambda encoder: mtl.trunks.Hierarchical(encoder, {"number": 1, "boxes": 3}),
    ],
    ids=["cross_stitch", "soft", "adapters", "hierarchical"],
)
def test_trunks_with_a_pyramid(trunk, tmp_path):
    encoder = mtl.encoders.FeaturePyramid(mtl.encoders.ConvEncoder([4, 6, 6]), ["P2", "P3"], 8)
    encoder(images(size=(32, 32)))  # a pretrained one has weights, which copies keep
    boxes = mtl.tasks.Detection("boxes", ["x"], (32, 32), levels=["P2", "P3"], hidden_units=[4], most=2)
    model = mtl.build_model(keras.Input((32, 32, 3)), trunk(encoder), [boxes, mtl.tasks.Regression("number")])
    model.compile("sgd")
    y = {"boxes": np.array([[[4, 4, 20, 20, 0], [-1] * 5]] * 2, "float32"), "number": np.ones(2)}
    before = [v.numpy() for v in model.trainable_variables]
    model.fit(images(size=(32, 32)), y, epochs=3, verbose=0)  # an adapter learns its first part after its last
    pairs = zip(model.trainable_variables, before, strict=True)
    untrained = [v.path for v, old in pairs if (v.numpy() == old).all()]
    assert all("pyramid" in path and "number" in path for path in untrained)  # the copy for a task that reads no level
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = images(size=(32, 32))
    np.testing.assert_array_equal(loaded.predict(x, verbose=0)["boxes"], model.predict(x, verbose=0)["boxes"])


def test_levels_that_a_pyramid_lacks():
    """A backbone has more levels than the pyramid, in other widths, which a head must not take for its own."""
    encoder = mtl.encoders.FeaturePyramid(mtl.encoders.ConvEncoder([4, 6, 6, 6]), ["P1", "P2"], 8)
    assert sorted(encoder(images())) == ["P1", "P2", "map", "pooled"]
    boxes = mtl.tasks.Detection("boxes", ["x"], (32, 32), levels=["P2", "P3"], hidden_units=[4])
    with pytest.raises(ValueError, match=r"'P3'"):
        mtl.build_model(keras.Input((32, 32, 3)), mtl.trunks.HardSharing(encoder), [boxes])
    trunk = mtl.trunks.Hierarchical(encoder, {"a": 3}, shortcut=True)
    with pytest.raises(ValueError, match="`shortcut` needs an encoder whose stages keep"):
        mtl.build_model(keras.Input((32, 32, 3)), trunk, [mtl.tasks.Regression("a")])


def test_a_pyramid_without_stages():
    class Encoder(keras.layers.Layer):
        def call(self, inputs):
            return {"P1": inputs[:, ::2, ::2]}

    with pytest.raises(ValueError, match="FeaturePyramid has no stages, received Encoder"):
        mtl.encoders.FeaturePyramid(Encoder(), ["P1"]).stages  # noqa: B018
