"""Pictures of masks, confusion matrices, and curves of precision over recall."""

import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl


def drawn(path):
    return tf.io.decode_png(path.read_bytes(), channels=3).numpy().astype(int)


def orange(pixels):
    """How many pixels have the colour of the second class, over black."""
    red, green, blue = np.moveaxis(pixels, -1, 0)
    return ((red > 100) & (red < 200) & (green < 0.7 * red) & (blue < 0.2 * red)).sum()


def orange_lines(pixels):
    red, green, blue = np.moveaxis(pixels, -1, 0)
    return ((red > 230) & (green > 100) & (green < 160) & (blue < 60)).sum()


def test_masks(tmp_path):
    images = np.zeros((2, 20, 30, 3))
    classes = np.zeros((2, 20, 30), int)
    half = classes.copy()
    half[:, :10] = 1
    half[0, 0, 0] = 255
    names = ["ground", "tree"]
    predicted, none, both = (
        orange(drawn(mtl.report.masks(images, {"classes": each}, tmp_path / f"{name}.png", labels, names)))
        for name, each, labels in (("half", half, None), ("none", classes, None), ("labels", classes, half))
    )
    assert predicted > 10_000
    assert none < 100
    assert both > 5_000
    unnamed = mtl.report.masks(images, {"classes": classes}, tmp_path / "unnamed.png", half)
    assert orange(drawn(unnamed)) > 5_000  # a class that is labelled but not predicted
    coloured = mtl.report.masks(images, {"classes": half - 1}, tmp_path / "new" / "a.png", background=None)
    assert (drawn(coloured)[..., 2] > 60).sum() > 10_000  # the first class, blue; -1 has no colour


def test_confusion_matrix(tmp_path):
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(-1, 4, (2, 50)), rng.integers(0, 3, (2, 50))
    weights = rng.integers(0, 2, (2, 50))
    path = tmp_path / "confusion.png"
    counts = mtl.report.confusion_matrix(labels, predictions, ["a", "b", "c"], path, weights)
    kept = (labels >= 0) & (labels < 3) & (weights > 0)
    expected = tf.math.confusion_matrix(labels[kept], predictions[kept], 3)
    np.testing.assert_array_equal(counts, expected)
    picture = drawn(path)
    mtl.report.confusion_matrix(predictions, labels, ["a", "b", "c"], tmp_path / "turned.png", weights)
    assert (picture != drawn(tmp_path / "turned.png")).any()
    assert (picture[..., 2] > picture[..., 0] + 40).sum() > 1000  # cells in blue
    names = np.array(["a", "b", "c", ""])
    of_names = mtl.report.confusion_matrix(
        names[labels], names[predictions].astype("S"), ["a", "b", "c"], path, weights
    )
    np.testing.assert_array_equal(of_names, counts)
    with pytest.raises(ValueError, match="must have one shape"):
        mtl.report.confusion_matrix(labels[0], predictions, ["a", "b", "c"], path)


def test_precision_over_recall(tmp_path):
    metric = mtl.metrics.MeanAveragePrecision(["cat", "dog"], per_class=True)
    labels = np.array([[[0, 0, 10, 10, 0], [20, 20, 30, 30, 0], [40, 0, 50, 10, 1]]], "float32")
    boxes = [[0, 0, 10, 10, 0, 0.9], [60, 0, 70, 9, 0, 0.8], [20, 20, 30, 28, 0, 0.7], [40, 0, 50, 10, 1, 0.5]]
    metric.update_state(labels, np.array([boxes], "float32"))
    curves = metric.curves()
    np.testing.assert_allclose(curves["cat"], [1] * 51 + [2 / 3] * 50)  # half of the cats before the false one
    np.testing.assert_allclose(curves["dog"], 1)
    result = metric.result()
    assert {name: curve.mean() for name, curve in curves.items()} == pytest.approx(
        {name: float(result[f"map50_{name}"]) for name in curves}
    )
    np.testing.assert_allclose(metric.curves(0.95)["cat"], [1] * 51 + [0] * 50)
    with pytest.raises(ValueError, match="`iou` must be one of.*0.7"):
        metric.curves(0.72)
    picture = drawn(mtl.report.precision_recall(curves, tmp_path / "curves.png"))
    assert orange_lines(picture) > 100  # the dog's
    assert orange_lines(drawn(mtl.report.precision_recall({"cat": curves["cat"]}, tmp_path / "cat.png"))) == 0
    small = mtl.metrics.MeanAveragePrecision(["cat", "dog", "cow"], limit=3)
    small.update_state(labels, np.array([boxes[:3]], "float32"))
    assert np.isnan(small.curves()["cow"]).all()  # none is labelled
    small.update_state(labels, np.array([boxes], "float32"))
    assert all(np.isnan(curve).all() for curve in small.curves().values())  # more than the limit
