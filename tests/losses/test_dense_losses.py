"""Losses of maps and points against NumPy, image by image."""

import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

RNG = np.random.default_rng(0)
WEIGHT = RNG.integers(0, 3, (3, 4, 5)).astype("float32")


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("crossentropy", [0.0, 0.5])
def test_soft_dice(crossentropy):
    logits = RNG.normal(size=(3, 4, 5, 4)).astype("float32")
    labels = RNG.integers(0, 3, (3, 4, 5))  # the last class does not occur
    labels[0, :2] = 255
    labels[2] = 255
    received = mtl.losses.SoftDice(crossentropy, ignore_class=255).call(labels, logits, WEIGHT)
    expected = []
    for image in range(3):
        w = (WEIGHT[image] * (labels[image] != 255)).ravel()
        p, y = softmax(logits[image]).reshape(-1, 4), labels[image].ravel()
        ratios, total = [], 0.0
        for kind in sorted(set(y[w > 0])):
            is_kind = y == kind
            ratios.append(2 * (w * p[:, kind] * is_kind).sum() / (w * (p[:, kind] + is_kind)).sum())
        if ratios:
            total = 1 - np.mean(ratios)
            total += crossentropy * -sum(w[i] * np.log(p[i, y[i]]) for i in range(20) if w[i]) / w.sum()
        expected.append(total)
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-6)
    assert expected[2] == 0


@pytest.mark.parametrize("kind", ["silog", "berhu", "l1"])
def test_depth_loss(kind):
    depths = RNG.uniform(0.5, 9, (3, 4, 5)).astype("float32")
    depths[0, 0] = 0
    depths[1, 2] = -1
    depths[2] = 0
    predicted = RNG.uniform(0.5, 9, (3, 4, 5, 1)).astype("float32")
    loss = mtl.losses.DepthLoss(kind)
    expected = []
    for image in range(3):
        w = (WEIGHT[image] * (depths[image] > 0)).ravel()
        y, x = depths[image].ravel()[w > 0], predicted[image].ravel()[w > 0]
        w = w[w > 0]
        if not len(w):
            expected.append(0)
            continue
        error, d = np.abs(x - y), np.log(x) - np.log(y)
        c = 0.2 * error.max()
        values = {
            "silog": np.average(d**2, weights=w) - 0.85 * np.average(d, weights=w) ** 2,
            "berhu": np.average(np.where(error <= c, error, (error**2 + c**2) / (2 * c)), weights=w),
            "l1": np.average(error, weights=w),
        }
        expected.append(values[kind])
    np.testing.assert_allclose(loss.call(depths, predicted, WEIGHT), expected, rtol=1e-4)
    np.testing.assert_allclose(loss.call(depths[..., None], predicted, WEIGHT), expected, rtol=1e-4)
    with tf.GradientTape() as tape:
        x = tf.constant(predicted)
        tape.watch(x)
        value = tf.reduce_sum(loss.call(depths, x))
    assert np.isfinite(tape.gradient(value, x)).all()


def test_arguments():
    with pytest.raises(ValueError, match="`kind`.*'silog'"):
        mtl.losses.DepthLoss("silo")
    with pytest.raises(ValueError, match="`scale`"):
        mtl.losses.PointDistance(0)
    for loss in (mtl.losses.DepthLoss("l1", 0.5), mtl.losses.SoftDice(0.5, 7), mtl.losses.PointDistance(2.0)):
        assert type(loss).from_config(loss.get_config()).get_config() == loss.get_config()
