"""Encoders in stages: their stages give the same output; keras-hub backbones are cut without losing weights."""

import keras
import keras_hub
import numpy as np
import pytest

import tf_mtl as mtl

TASKS = ("a", "b")
IDS = np.random.default_rng(0).integers(1, 20, (4, 8)) * (np.arange(8) < 6)
DATA = {"token_ids": IDS, "padding_mask": (IDS != 0).astype("int32")}
SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "max_sequence_length": 8}
BACKBONES = {
    "bert": lambda: keras_hub.models.BertBackbone(20, **SIZES),
    "roberta": lambda: keras_hub.models.RobertaBackbone(20, **SIZES),
    "distilbert": lambda: keras_hub.models.DistilBertBackbone(20, **SIZES),
    "gpt2": lambda: keras_hub.models.GPT2Backbone(20, **SIZES),
}


def inputs():
    return {name: keras.Input((None,), dtype="int32", name=name) for name in DATA}


@pytest.mark.parametrize("name", BACKBONES)
def test_stages_of_a_backbone_give_its_sequence(name):
    encoder = mtl.encoders.BackboneEncoder(BACKBONES[name]())
    config = encoder.get_config()
    x, expected = DATA, encoder(DATA)
    assert len(encoder.stages) == 3
    for stage in encoder.stages:
        x = stage(x)
    np.testing.assert_allclose(x["sequence"], expected["sequence"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(x["mask"], IDS != 0)
    in_stages = [v for stage in encoder.stages for v in stage.weights]
    assert {id(v) for v in in_stages} == {id(v) for v in encoder.weights}
    assert encoder.get_config() == config  # cutting has not changed the backbone's own graph


@pytest.mark.parametrize(
    "encoder",
    [
        lambda: mtl.encoders.MLPEncoder([6, 4]),
        lambda: mtl.encoders.ConvEncoder([4, 6]),
        lambda: mtl.encoders.TransformerEncoder(20, 8, dim=8, layers=2, heads=2),
    ],
)
def test_stages_give_the_output_of_the_encoder(encoder):
    encoder = encoder()
    shape = {"mlp_encoder": (2, 5), "conv_encoder": (2, 8, 8, 3), "transformer_encoder": (2, 8)}[encoder.name]
    x = np.random.default_rng(0).integers(0, 20, shape).astype("float32")
    features = encoder(x)
    assert len(encoder.stages) == (3 if "sequence" in features else 2)
    output = mtl.trunks._stages.run("encoder", encoder.stages, x)
    main = next(key for key in ("map", "sequence", "pooled") if key in features)
    output = output[main] if isinstance(output, dict) else output
    np.testing.assert_allclose(output, features[main], rtol=1e-6)
    assert {id(v) for v in encoder.weights} == {
        id(v) for s in encoder.stages for layer in _flat(s) for v in layer.weights
    }


def _flat(stage):
    return [layer for part in stage for layer in _flat(part)] if isinstance(stage, list) else [stage]


@pytest.mark.parametrize(
    "trunk",
    [
        lambda e: mtl.trunks.Adapters(e, bottleneck=2),
        lambda e: mtl.trunks.LoRA(e, rank=2, kernels=["query", "value"]),
        lambda e: mtl.trunks.HardSharing(e),
    ],
    ids=["adapters", "lora", "hard"],
)
def test_a_frozen_pretrained_backbone(trunk, tmp_path):
    """The model starts as the backbone, trains the other layers, and keeps the backbone frozen when loaded."""
    encoder = mtl.encoders.BackboneEncoder(BACKBONES["bert"](), trainable=False)
    before = [v.numpy() for v in encoder.weights]
    expected = encoder(DATA)["pooled"]
    trunk = trunk(encoder)
    x = inputs()
    features = keras.Model(x, {task: f["pooled"] for task, f in trunk(x, TASKS).items()})
    for actual in features(DATA).values():
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    model = mtl.build_model(inputs(), trunk, [mtl.tasks.Regression(task) for task in TASKS])
    model.compile(keras.optimizers.Adam(0.05))
    y = {"a": np.ones(4), "b": np.zeros(4)}
    logs = model.fit(DATA, y, epochs=15, verbose=0).history["loss"]
    assert logs[-1] < logs[0]
    for v, value in zip(encoder.weights, before, strict=True):
        np.testing.assert_array_equal(v.numpy(), value)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert len(loaded.trainable_variables) == len(model.trainable_variables)
    for task, actual in loaded.predict(DATA, verbose=0).items():
        np.testing.assert_array_equal(actual, model.predict(DATA, verbose=0)[task])


def test_pretrained_weights_are_copied():
    backbone = BACKBONES["bert"]()
    encoder = mtl.encoders.BackboneEncoder(backbone)
    trunk = mtl.trunks.CrossStitch(encoder, own_weight=1.0)
    x = inputs()
    features = keras.Model(x, {task: f["pooled"] for task, f in trunk(x, TASKS).items()})
    for actual in features(DATA).values():
        np.testing.assert_allclose(actual, encoder(DATA)["pooled"], rtol=1e-4, atol=1e-5)


def test_a_backbone_without_stages():
    encoder = mtl.encoders.BackboneEncoder(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)]))
    with pytest.raises(ValueError, match="`backbone`.*has no stages.*list of layers"):
        mtl.trunks.Adapters(encoder)
