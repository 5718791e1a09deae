"""BoxLoss against published answers, NumPy and the gradients that the papers promise."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

KNOWN = json.loads((Path(__file__).parent / "boxes.json").read_text())  # computed with NumPy from the papers
KINDS = ["iou", "giou", "diou", "ciou"]


def boxes(rows=50):
    rng = np.random.default_rng(0)
    first = rng.uniform(0, 60, (2, rows, 2))
    return np.concatenate([first, first + rng.uniform(2, 40, (2, rows, 2))], -1).astype("float32")


@pytest.mark.parametrize("kind", KINDS)
def test_known_answers(kind):
    loss = mtl.losses.BoxLoss(kind).call(np.array(KNOWN["true"]), np.array(KNOWN["predicted"]))
    np.testing.assert_allclose(loss, 1 - np.array(KNOWN[kind]), atol=2e-6)


@pytest.mark.parametrize("box_format", ["yxyx", "xywh", "center_xywh", "center_yxhw", "rel_xyxy", "rel_center_xywh"])
def test_formats(box_format):
    true, predicted = boxes()
    options = {"height": 100, "width": 100} if box_format.startswith("rel") else {}
    converted = [
        keras.utils.bounding_boxes.convert_format(each, "xyxy", box_format, **options) for each in (true, predicted)
    ]
    expected = mtl.losses.BoxLoss("ciou").call(true, predicted)
    np.testing.assert_allclose(mtl.losses.BoxLoss("ciou", box_format).call(*converted), expected, atol=1e-4)


def test_equals_keras():
    true, predicted = boxes()
    expected = keras.utils.bounding_boxes.compute_iou(true, predicted, "xyxy")
    np.testing.assert_allclose(mtl.losses.BoxLoss("iou").call(true, predicted), 1 - np.diag(expected), atol=1e-5)


def test_gradients_of_boxes_apart_and_of_empty_ones():
    apart = tf.constant([[0.0, 0.0, 2.0, 2.0]])
    other = tf.constant([[10.0, 10.0, 12.0, 12.0]])
    empty = tf.constant([[5.0, 5.0, 5.0, 5.0]])
    for kind in KINDS:
        for predicted, true in ((apart, other), (empty, other), (empty, empty)):
            with tf.GradientTape() as tape:
                tape.watch(predicted)
                loss = mtl.losses.BoxLoss(kind).call(true, predicted)
            gradient = tape.gradient(loss, predicted)
            assert np.isfinite(loss).all()
            assert np.isfinite(gradient).all()
            if predicted is apart:
                assert bool(tf.reduce_any(gradient != 0)) is (kind != "iou")


def test_keeps_leading_axes_and_saves():
    true, predicted = (each.reshape(5, 10, 4) for each in boxes())
    loss = mtl.losses.BoxLoss("diou", format="xywh")
    assert loss.call(true, predicted).shape == (5, 10)
    assert mtl.losses.BoxLoss.from_config(loss.get_config()).get_config() == loss.get_config()
    with pytest.raises(ValueError, match="`kind`.*'giou'"):
        mtl.losses.BoxLoss("gio")
    with pytest.raises(ValueError, match="`format` must be one of.*'xyxy'"):
        mtl.losses.BoxLoss(format="xyx")
