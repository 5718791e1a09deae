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
