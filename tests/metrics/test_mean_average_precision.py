"""COCO's mean average precision against pycocotools, on random sets with crowds, ties and many detections."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

CLASSES = 3


def rows(items, images, width, most):
    padded = np.full((images, most, width), -1.0)
    for image in range(images):
        for index, (_, kind, *rest) in enumerate([item for item in items if item[0] == image]):
            x, y, w, h = rest[-4:]
            padded[image, index] = [x, y, x + w, y + h, kind, *rest[:-4]]
    return padded


def random_set(seed, images=10, detections=30, crowds=True):
    """Labels and detections: moved, repeated and invented boxes, with scores that are often the same."""
    rng = np.random.default_rng(seed)
    labels, found = np.full((images, 12, 5), -1.0), np.full((images, detections, 6), -1.0)
    for image in range(images):
        for index in range(rng.integers(0, 12)):
            first, size = rng.integers(0, 80, 2), rng.integers(5, 40, 2)
            kind = rng.integers(CLASSES - 1)  # the last class does not occur
            kind = -2 - kind if crowds and rng.random() < 0.2 else kind
            labels[image, index] = [*first, *(first + size), kind]
        real = labels[image][labels[image, :, 4] != -1]
        for index in range(rng.integers(0, detections + 1)):
            if len(real) and rng.random() < 0.8:
                *box, kind = real[rng.integers(len(real))]
                box = np.array(box) + rng.integers(-4, 5, 4)
                box[2:] = np.maximum(box[2:], box[:2] + 1)
                kind = -2 - kind if kind < 0 else kind
            else:
                first = rng.integers(0, 80, 2)
                box, kind = [*first, *(first + rng.integers(5, 40, 2))], rng.integers(CLASSES)
            found[image, index] = [*box, kind, rng.integers(0, 50) / 50]
    return labels, found


def pycocotools_results(labels, detections):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations, found = [], []
    for image, boxes in enumerate(labels):
        for left, top, right, bottom, kind in boxes[boxes[:, 4] != -1]:
            width, height = right - left, bottom - top
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "bbox": [left, top, width, height]}
                | {"category_id": int(kind if kind >= 0 else -2 - kind), "iscrowd": int(kind < 0)}
                | {"area": width * height}
            )
        for left, top, right, bottom, kind, score in detections[image][detections[image][:, 4] != -1]:
            box = [left, top, right - left, bottom - top]
            found.append({"image_id": image, "bbox": box, "category_id": int(kind), "score": score})
    truth = COCO()
    images = [{"id": image} for image in range(len(labels))]
    truth.dataset = {"images": images, "annotations": annotations, "categories": [{"id": i} for i in range(CLASSES)]}
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return dict(zip(["map", "map50", "map75"], evaluation.stats, strict=False)), evaluation.eval["precision"]


def results(metric, labels, detections, sizes=(3, 1, 6), weight=None):
    update = tf.function(metric.update_state, reduce_retracing=True)
    ends = np.cumsum(sizes)
    for begin, end in zip([0, *ends[:-1]], ends, strict=True):
        weights = [] if weight is None else [tf.constant(weight[begin:end])]
        update(tf.constant(labels[begin:end]), tf.constant(detections[begin:end]), *weights)
    return {name: float(value) for name, value in metric.result().items()}


def test_known_answer():
    known = json.loads((Path(__file__).parent / "coco_map.json").read_text())
    labels = rows(known["true"], known["images"], 5, 30)
    detections = rows(known["predicted"], known["images"], 6, 60)
    metric = mtl.metrics.MeanAveragePrecision(known["classes"])
    expected = {"map": known["mAP"], "map50": known["mAP50"], "map75": known["mAP75"]}
    for _ in range(2):
        assert results(metric, labels, detections, (5, 7)) == pytest.approx(expected, abs=1e-5)
        metric.reset_state()


@pytest.mark.parametrize("seed", range(6))
def test_equals_pycocotools(seed, capsys):
    labels, detections = random_set(seed)
    expected, precision = pycocotools_results(labels, detections)
    metric = mtl.metrics.MeanAveragePrecision(["a", "b", "c"], per_class=True)
    received = results(metric, labels, detections)
    assert 0.02 < expected["map"] < expected["map50"] < 0.9
    for name, value in expected.items():
        assert received[name] == pytest.approx(value, abs=1e-6)
    for index, name in enumerate(["a", "b"]):
        assert received[f"map_{name}"] == pytest.approx(precision[:, :, index, 0, 2].mean(), abs=1e-6)
        assert received[f"map50_{name}"] == pytest.approx(precision[0, :, index, 0, 2].mean(), abs=1e-6)
    assert received["map_c"] == 0


def test_only_the_best_hundred_of_a_class_count(capsys):
    labels, detections = random_set(7, images=4, detections=260)
    expected, _ = pycocotools_results(labels, detections)
    received = results(mtl.metrics.MeanAveragePrecision(CLASSES), labels, detections, (4,))
    assert received == pytest.approx(expected, abs=1e-6)


def test_weights_of_images_and_of_boxes():
    labels, detections = random_set(1)
    kept = np.arange(10) % 3 > 0
    metric = mtl.metrics.MeanAveragePrecision(CLASSES)
    expected = results(metric, labels[kept], detections[kept], (int(kept.sum()),))
    metric.reset_state()
    spoilt = np.where(kept[:, None, None], labels, np.nan)
    assert results(metric, spoilt, detections, weight=kept.astype("float32")) == pytest.approx(expected)
    metric.reset_state()
    without = labels.copy()
    without[:, 0] = -1
    expected = results(metric, without, detections)
    metric.reset_state()
    weight = np.ones((10, 12), "float32")
    weight[:, 0] = 0
    assert results(metric, labels, detections, weight=weight) == pytest.approx(expected)


def test_nothing_more_than_the_limit_and_nothing_at_all():
    labels, detections = random_set(2)
    number = int((detections[..., 4] >= 0).sum())
    exact = results(mtl.metrics.MeanAveragePrecision(CLASSES, limit=number), labels, detections)
    assert exact == pytest.approx(results(mtl.metrics.MeanAveragePrecision(CLASSES), labels, detections))
    beyond = results(mtl.metrics.MeanAveragePrecision(CLASSES, limit=number - 1), labels, detections)
    assert all(np.isnan(list(beyond.values())))
    nothing = np.full_like(detections, -1)
    assert set(results(mtl.metrics.MeanAveragePrecision(CLASSES), labels, nothing).values()) == {0.0}
    assert {float(x) for x in mtl.metrics.MeanAveragePrecision(CLASSES).result().values()} == {0.0}


def test_formats_and_arguments():
    labels, detections = random_set(3, crowds=False)
    expected = results(mtl.metrics.MeanAveragePrecision(CLASSES), labels, detections)
    relative = labels.copy()
    relative[..., :4] /= [200, 100, 200, 100]
    metric = mtl.metrics.MeanAveragePrecision(CLASSES, format="rel_xyxy", image_size=(100, 200))
    assert results(metric, relative, detections) == pytest.approx(expected, abs=1e-3)
    assert type(metric).from_config(metric.get_config()).get_config() == metric.get_config()
    with pytest.raises(ValueError, match="`image_size`"):
        mtl.metrics.MeanAveragePrecision(CLASSES, format="rel_xyxy")
    with pytest.raises(ValueError, match="`classes`"):
        mtl.metrics.MeanAveragePrecision([])
