"""The equal error rate and the detection cost against a known answer and brute force."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

KNOWN = json.loads((Path(__file__).parent / "eer.json").read_text())


def results(metric, same, scores, weight=None):
    update = tf.function(metric.update_state, reduce_retracing=True)
    for rows in np.array_split(np.arange(len(same)), 3):
        weights = [] if weight is None else [tf.constant(weight[rows])]
        update(tf.constant(same[rows]), tf.constant(scores[rows]), *weights)
    return {name: float(value) for name, value in metric.result().items()}


def brute_force(same, scores, prior):
    """Both, with a threshold at each score and one above all."""
    thresholds = [np.inf, *sorted(set(scores), reverse=True)]
    rejected = np.array([(scores[same == 1] < t).mean() for t in thresholds])
    false = np.array([(scores[same == 0] >= t).mean() for t in thresholds])
    after = np.argmax(false >= rejected)
    x = (rejected - false)[after - 1 : after + 1]
    eer = rejected[after - 1] + x[0] / (x[0] - x[1]) * (rejected[after] - rejected[after - 1])
    return {"eer": eer, "min_dcf": (prior * rejected + (1 - prior) * false).min() / min(prior, 1 - prior)}


def test_known_answer():
    metric = mtl.metrics.EqualErrorRate()
    same, scores = np.array(KNOWN["same"]), np.array(KNOWN["scores"], "float32")
    for _ in range(2):
        assert results(metric, same, scores)["eer"] == pytest.approx(KNOWN["eer"], abs=1e-6)
        metric.reset_state()


@pytest.mark.parametrize("seed", range(5))
def test_equals_brute_force(seed):
    rng = np.random.default_rng(seed)
    same = rng.integers(0, 2, 90)
    scores = (np.round(rng.normal(size=90) + same, 1 if seed % 2 else 6)).astype("float32")  # with ties, and without
    weight = rng.integers(0, 3, 90).astype("float32")
    counted = weight > 0
    expected = brute_force(same[counted], scores[counted], 0.1)
    spoilt = np.where(counted, scores, np.nan)
    metric = mtl.metrics.EqualErrorRate(prior=0.1)
    assert results(metric, same, np.where(counted, scores, 7.0), weight) == pytest.approx(expected, abs=1e-6)
    assert 0.05 < expected["eer"] < 0.6
    assert np.isnan(results(mtl.metrics.EqualErrorRate(), same, spoilt)["eer"])


def test_perfect_reversed_and_missing_kinds():
    same, scores = np.array([1, 1, 0, 0]), np.array([0.9, 0.8, 0.2, 0.1], "float32")
    assert results(mtl.metrics.EqualErrorRate(), same, scores)["eer"] == 0
    assert results(mtl.metrics.EqualErrorRate(), 1 - same, scores)["eer"] == 1
    assert results(mtl.metrics.EqualErrorRate(), np.ones(3, int), scores[:3])["eer"] == 0
    assert {float(value) for value in mtl.metrics.EqualErrorRate().result().values()} == {0.0}
    assert np.isnan(results(mtl.metrics.EqualErrorRate(limit=3), same, scores)["eer"])
    metric = mtl.metrics.EqualErrorRate(0.2, limit=5)
    assert type(metric).from_config(metric.get_config()).get_config() == metric.get_config()
    with pytest.raises(ValueError, match="`prior`"):
        mtl.metrics.EqualErrorRate(prior=1)
