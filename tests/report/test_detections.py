"""The picture of detections: solid boxes where they are detected, dashed ones where they are labelled."""

import numpy as np
import tensorflow as tf

import tf_mtl as mtl


def drawn(path):
    return tf.io.decode_png(path.read_bytes(), channels=3).numpy().astype(int)


def coloured(pixels):
    """Where a picture is blue, the colour of the first class."""
    return (pixels[..., 2] > pixels[..., 0] + 60).sum()


def test_boxes_above_the_threshold_and_labels(tmp_path):
    images = np.full((2, 40, 60, 3), 128, "uint8")
    answers = {
        "boxes": np.array([[[5, 5, 30, 30], [0, 0, 0, 0]], [[10, 10, 50, 35], [0, 0, 0, 0]]], "float32"),
        "labels": np.array([["cat", ""], ["cat", ""]]),
        "scores": np.array([[0.9, 0.0], [0.2, 0.0]]),
    }
    path = mtl.report.detections(images, answers, tmp_path / "new" / "detections.png", classes=["cat", "dog"])
    above = coloured(drawn(path))
    none = {**answers, "scores": np.zeros((2, 2))}
    below = coloured(drawn(mtl.report.detections(images, none, tmp_path / "none.png", classes=["cat", "dog"])))
    assert above > below + 100
    labels = np.array([[[5, 5, 30, 30, 0], [-1, -1, -1, -1, -1]]] * 2, "float32")
    dashed = coloured(
        drawn(mtl.report.detections(images, none, tmp_path / "labels.png", labels, classes=["cat", "dog"]))
    )
    assert below + 50 < dashed < below + 2 * (above - below)
    grey = mtl.report.detections(images[..., :1], answers, tmp_path / "grey.png")  # classes of the answers
    assert coloured(drawn(grey)) > below + 100
