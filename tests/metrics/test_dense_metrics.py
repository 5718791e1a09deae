"""Metrics of depths, directions and points against NumPy, over batches and with weights."""

import numpy as np
import pytest

import tf_mtl as mtl

RNG = np.random.default_rng(1)


def update(metric, labels, predictions, weight):
    for rows in (slice(0, 2), slice(2, 5)):
        metric.update_state(labels[rows], predictions[rows], weight[rows])
    return metric.result()


def test_depths():
    labels, predictions = RNG.uniform(1, 5, (5, 3, 4)), RNG.uniform(1, 5, (5, 3, 4, 1)).astype("float32")
    labels[1] = 0
    weight = RNG.integers(0, 2, (5, 3, 4)).astype("float32")
    valid = (labels > 0) & (weight > 0)
    y, x = labels[valid], predictions[..., 0][valid]
    received = update(mtl.metrics.AbsoluteRelativeError(), labels, predictions, weight)
    assert float(received) == pytest.approx(np.mean(np.abs(x - y) / y), rel=1e-5)
    received = update(mtl.metrics.DepthAccuracy(), labels, predictions, weight)
    assert float(received) == pytest.approx(np.mean(np.maximum(x / y, y / x) < 1.25), rel=1e-5)
    of_images = np.array([1, 0, 1, 0, 1], "float32")
    valid = (labels > 0) & (of_images[:, None, None] > 0)
    y, x = labels[valid], predictions[..., 0][valid]
    received = update(mtl.metrics.AbsoluteRelativeError(), labels, predictions, of_images)
    assert float(received) == pytest.approx(np.mean(np.abs(x - y) / y), rel=1e-5)


def test_angles():
    labels, predictions = RNG.normal(size=(2, 5, 6, 7, 3)).astype("float32")
    labels[0, 0] = 0
    weight = RNG.integers(0, 2, (5, 6, 7)).astype("float32")
    valid = (labels != 0).any(-1) & (weight > 0)
    a, b = labels[valid], predictions[valid]
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    angles = np.degrees(np.arccos(cosine))
    results = update(mtl.metrics.Angles(), labels, predictions, weight)
    assert float(results["mean_angle"]) == pytest.approx(angles.mean(), rel=1e-4)
    assert float(results["median_angle"]) == pytest.approx(np.median(angles), abs=0.11)
    small = np.array([[[[1.0, 0.001, 0.0]]]], "float32")
    metric = mtl.metrics.Angles()
    metric.update_state(np.array([[[[1.0, 0.0, 0.0]]]]), small)
    assert float(metric.result()["mean_angle"]) == pytest.approx(np.degrees(0.001), rel=1e-3)
    assert {float(value) for value in mtl.metrics.Angles().result().values()} == {0.0}


def test_points():
    labels = RNG.uniform(0, 20, (5, 4, 2))
    predictions = (labels + RNG.normal(size=labels.shape)).astype("float32")
    weight = RNG.integers(0, 2, (5, 4)).astype("float32")
    near = np.linalg.norm(labels - predictions, axis=2) <= 1.2
    assert 0.2 < near.mean() < 0.8
    received = update(mtl.metrics.CorrectKeypoints(1.2), labels, predictions, weight)
    assert float(received) == pytest.approx(near[weight > 0].mean())
