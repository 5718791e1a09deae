"""A learned mix of an encoder's stages for each task."""

import keras
import numpy as np
import pytest

import tf_mtl as mtl

IDS = np.array([[4, 7, 9, 0], [3, 0, 0, 0]])
INPUT = {"shape": (4,), "dtype": "int32"}


def encoder():
    keras.utils.set_random_seed(0)
    return mtl.encoders.TransformerEncoder(12, 4, dim=8, layers=2, heads=2)


def backbone():
    import keras_hub

    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "max_sequence_length": 4}
    return mtl.encoders.BackboneEncoder(keras_hub.models.BertBackbone(12, **sizes))


@pytest.mark.parametrize(
    ("make", "count"), [(encoder, 3), (lambda: mtl.encoders.RecurrentEncoder(12, dim=6, units=4, layers=2), 2)]
)
def test_features_are_those_of_the_encoder(make, count):
    plain = make()
    expected, features = plain(IDS), mtl.encoders.WithStages(plain)(IDS)
    for name, value in expected.items():
        np.testing.assert_allclose(features[name], value, atol=1e-6)
    stages = np.array(features["sequence_stages"])
    assert stages.shape == (2, 4, count, 8)
    np.testing.assert_array_equal(stages[:, :, -1], features["sequence"])
    np.testing.assert_allclose(features["pooled_stages"][0], stages[0, :3].mean(0), atol=1e-6)
    np.testing.assert_allclose(features["pooled_stages"][:, -1], features["pooled"], atol=1e-6)


def test_a_backbone():
    inputs = {"token_ids": IDS, "padding_mask": IDS > 0}
    plain = backbone()
    expected, features = plain(inputs), mtl.encoders.WithStages(plain)(inputs)
    np.testing.assert_allclose(features["sequence"], expected["sequence"], atol=1e-5)
    assert features["sequence_stages"].shape == (2, 4, 3, 8)
    assert len(mtl.encoders.WithStages(plain).trainable_variables) == len(plain.trainable_variables)


def build(tasks):
    return mtl.build_model(keras.Input(**INPUT), mtl.trunks.HardSharing(mtl.encoders.WithStages(encoder())), tasks)


def test_each_task_mixes_its_own(tmp_path):
    tasks = [
        mtl.tasks.Classification("topic", 3, layers="all"),
        mtl.tasks.Tagging("tags", 3, scheme="none", layers=[0, 2]),
        mtl.tasks.Regression("plain"),
    ]
    model = build(tasks)
    features = model.get_layer("with_stages")(IDS)
    mix = model.get_layer("topic_layers")
    mix.logits.assign(np.log([1.0, 2.0, 5.0]))
    mix.factor.assign(2.0)
    expected = 2 * np.einsum("bld,l->bd", features["pooled_stages"], [1 / 8, 2 / 8, 5 / 8])
    np.testing.assert_allclose(mix(features["pooled_stages"]), expected, rtol=1e-5)
    part = keras.Model(model.input, model.get_layer("tags_layers").output)
    np.testing.assert_allclose(part(IDS), np.array(features["sequence_stages"])[:, :, [0, 2]].mean(2), atol=1e-6)
    assert {v.path for v in mtl.partition(model).own["topic"]} == {
        *("topic_layers/logits", "topic_layers/factor", "topic/kernel", "topic/bias")
    }
    model.compile("sgd", balancing="upgrad")
    y = {"topic": np.array([0, 1]), "tags": IDS % 3, "plain": np.ones(2)}
    before = model.get_layer("topic_layers").get_weights()
    model.fit(IDS, y, verbose=0)
    assert (before[0] != model.get_layer("topic_layers").get_weights()[0]).any()
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    for task, output in model(IDS).items():
        np.testing.assert_array_equal(loaded(IDS)[task], output)
    assert [task.layers for task in loaded.tasks] == ["all", [0, 2], None]


def test_what_does_not_fit():
    task = mtl.tasks.Classification("topic", 3, layers=[3])
    with pytest.raises(ValueError, match=r"`layers` of task 'topic' must be below 3, .*received \[3\]"):
        build([task])
    with pytest.raises(ValueError, match=r"`layers` of task 'topic' needs.*Use encoders.WithStages"):
        mtl.build_model(keras.Input(**INPUT), mtl.trunks.HardSharing(encoder()), [task])
    with pytest.raises(ValueError, match='`layers` must be "all"'):
        mtl.tasks.Classification("topic", 3, layers="last")
    with pytest.raises(ValueError, match="`encoder` must have `stages`"):
        mtl.encoders.WithStages(keras.layers.Dense(3))
