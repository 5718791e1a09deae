"""Ordered levels: known answers, order of the thresholds, names, missing labels, replicas."""

import keras
import numpy as np
import pytest

import tf_mtl as mtl

# From scikit-learn (kappa) and NumPy (the rest).
LOGITS = [
    [-0.3031, 0.6482, 1.8708, -1.1424],
    [0.3385, -0.2587, 0.8255, 0.4496],
    [1.4722, 0.5195, -0.5451, -0.5386],
    [0.4056, 0.3949, 2.3979, 1.6763],
    [-1.1736, 0.3502, -1.331, -1.6557],
    [0.7435, 0.5517, -1.0386, 1.6437],
]
LEVELS = [0, 0, 2, 4, 3, 2]


def test_known_losses_and_levels():
    loss = mtl.losses.OrdinalCrossentropy().call(np.array(LEVELS), np.array(LOGITS, "float32"))
    np.testing.assert_allclose(loss, [3.912858, 3.580561, 1.590269, 1.284331, 3.716563, 2.96725], rtol=1e-5)
    answer = mtl.tasks.Ordinal("pain", levels=5).decode(np.array(LOGITS, "float32"))
    assert answer["level"].numpy().tolist() == [2, 3, 2, 4, 1, 3]
    np.testing.assert_allclose(answer["score"], (1 / (1 + np.exp(-np.array(LOGITS)))).sum(1), rtol=1e-5)


TRUE = "202131102021110221010231334340000001210323442312341311412004"
PREDICTED = "111122213012021211100141423231010102220323442311432311412104"


def test_kappa_equals_another_library():
    """The expected value is scikit-learn's `cohen_kappa_score`; a weight of 2 counts a row twice, and 0 not at all."""
    true, predicted = (np.array([int(level) for level in levels]) for levels in (TRUE, PREDICTED))
    metric = mtl.metrics.QuadraticWeightedKappa(5)
    for part in np.split(np.arange(60), 4):
        metric.update_state(true[part], predicted[part, None])
    assert float(metric.result()) == pytest.approx(0.830363, abs=1e-6)
    weighted, repeated = mtl.metrics.QuadraticWeightedKappa(5), mtl.metrics.QuadraticWeightedKappa(5)
    weight = np.arange(60) % 3
    weighted.update_state(true, predicted, weight)
    repeated.update_state(np.repeat(true, weight), np.repeat(predicted, weight))
    assert float(weighted.result()) == pytest.approx(float(repeated.result()), abs=1e-6)
    metric.reset_state()
    metric.update_state([1, 1], [1, 1])
    assert float(metric.result()) == 0


def train(strategy="one_device", labels=None, weight=None, **options):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4)).astype("float32")
    levels = np.digitize(x.sum(1), [-2, 0, 2])
    with mtl.distribute.strategy(strategy).scope():
        keras.utils.set_random_seed(0)
        task = mtl.tasks.Ordinal("pain", levels=["none", "some", "much", "most"], **options)
        model = mtl.build_model(keras.Input((4,)), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8])), [task])
        model.compile(keras.optimizers.Adam(0.05), jit_compile=False)
    y = {"pain": levels if labels is None else labels(levels)}
    history = model.fit(x, y, sample_weight=weight, batch_size=16, epochs=12, shuffle=False, verbose=0).history
    return model, history, x, levels


def test_levels_are_learnt_and_thresholds_stay_in_order():
    model, history, x, levels = train()
    assert history["pain_mae"][-1] < 0.3
    assert history["pain_kappa"][-1] > 0.9
    output = model.predict(x, verbose=0)["pain"]
    assert (np.diff(output, axis=1) < 0).all()
    answer = model.answer(x)["pain"]
    assert np.mean(answer["level"] == levels) > 0.8
    assert answer["label"][0] == ["none", "some", "much", "most"][answer["level"][0]]


def test_names_are_levels():
    names = np.array(["none", "some", "much", "most"])
    expected, by_name = train()[1], train(labels=lambda levels: names[levels])[1]
    np.testing.assert_allclose(by_name["loss"], expected["loss"], rtol=1e-6)


def test_two_replicas_and_missing_labels():
    weight = {"pain": np.tile([1.0, 0.0, 1.0, 1.0], 16)}
    one = train(labels=lambda levels: np.where(weight["pain"] > 0, levels, -1), weight=weight)
    two = train("mirrored", weight=weight)
    for a, b in zip(one[0].get_weights(), two[0].get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    np.testing.assert_allclose(one[1]["pain_kappa"], two[1]["pain_kappa"], atol=1e-4)


def test_errors():
    with pytest.raises(ValueError, match="`levels` of task 'pain' must be at least 3 different names"):
        mtl.tasks.Ordinal("pain", levels=2)
    with pytest.raises(ValueError, match="must be class indices from 0 to 3"):
        train(labels=lambda levels: levels + 1)
