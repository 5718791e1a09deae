"""Detection: which positions answer, suppression, training on scenes, weights, bad labels, replicas, export."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

SIZE = (32, 48)
LEVELS = ["P2", "P3"]


def scenes(rows, seed=0):
    """Rectangles, dark ones of class 0 and light ones of class 1, on grey."""
    rng = np.random.default_rng(seed)
    images = np.zeros((rows, *SIZE, 1), "float32")
    labels = np.full((rows, 3, 5), -1.0, "float32")
    for row in range(rows):
        for index in range(rng.integers(0, 4)):
            kind, size = rng.integers(2), rng.integers(8, 16)
            left, top = rng.integers(0, SIZE[1] - size), rng.integers(0, SIZE[0] - size)
            images[row, top : top + size, left : left + size] = 2 * kind - 1
            labels[row, index] = [left, top, left + size, top + size, kind]
    return images, labels


def detection(**options):
    return mtl.tasks.Detection("boxes", ["dark", "light"], SIZE, LEVELS, hidden_units=[8], **options)


def small_model(*others, **options):
    keras.utils.set_random_seed(0)
    encoder = mtl.encoders.FeaturePyramid(mtl.encoders.ConvEncoder([4, 8, 8, 8]), LEVELS, 8)
    trunk = mtl.trunks.HardSharing(encoder)
    return mtl.build_model(keras.Input((*SIZE, 1), name="image"), trunk, [detection(**options), *others])


def greedy(boxes, classes, threshold):
    """Non-maximum suppression, one box after the other."""
    kept = []
    for index in range(len(boxes)):
        same = [other for other in kept if classes[other] == classes[index]]
        iou = np.array(keras.utils.bounding_boxes.compute_iou(boxes[index : index + 1], boxes[same], "xyxy"))[0]
        if not (iou > threshold).any():
            kept.append(index)
    return kept


def test_suppression_equals_the_greedy_algorithm():
    rng = np.random.default_rng(0)
    first = rng.uniform(0, 20, (5, 120, 2))
    boxes = np.concatenate([first, first + rng.uniform(4, 12, (5, 120, 2))], -1).astype("float32")
    logits = rng.normal(size=(5, 120, 2)).astype("float32")
    task = detection(threshold=0.0, iou_threshold=0.3, most=240)
    found = task.predictions(tf.constant(np.concatenate([boxes, logits], -1))).numpy()
    for row in range(5):
        order = np.argsort(-logits[row].ravel())
        kept = order[greedy(boxes[row][order // 2], order % 2, 0.3)]
        assert 20 < len(kept) < 200
        np.testing.assert_allclose(found[row, : len(kept), :4], boxes[row][kept // 2], rtol=1e-6)
        assert found[row, : len(kept), 4].tolist() == (kept % 2).tolist()
        assert set(found[row, len(kept) :, 4]) == {-1.0}


def test_decoded_boxes():
    task = detection(most=5, threshold=0.3, iou_threshold=0.5)
    output = np.full((1, 120, 6), -9.0, "float32")
    output[..., :4] = [0, 0, 8, 8]
    output[0, :5] = [
        [0, 0, 10, 10, 3, -9],
        [1, 0, 11, 10, 2, -9],  # suppressed by the first
        [1, 0, 11, 10, -9, 1],  # of another class
        [-8, 20, 60, 40, 0, -9],  # reaches beyond the image
        [20, 20, 30, 30, -9, -2],  # below the threshold
    ]
    answer = {key: value.numpy() for key, value in task.decode(output).items()}
    assert answer["labels"].tolist() == [[b"dark", b"light", b"dark", b"", b""]]
    np.testing.assert_allclose(answer["scores"][0, :3], tf.sigmoid([3.0, 1.0, 0.0]))
    assert answer["boxes"][0, 2].tolist() == [0, 20, 48, 32]
    assert not answer["boxes"][0, 3:].any()


def test_positions_that_answer():
    """By hand: of the positions inside a box, the ones whose boxes fit best; outside, none."""
    loss = mtl.losses.DetectionLoss(["P3"], (32, 32), top=2)
    output = np.full((1, 16, 5), -9.0, "float32")
    output[..., :4] = [0, 0, 4, 4]
    label = np.array([[[0, 0, 16, 16, 0], [-1, -1, -1, -1, -1]]], "float32")  # positions 0, 1, 4 and 5 are inside
    output[0, 5, :4] = [0, 0, 16, 16]
    output[0, 4, :4] = [0, 0, 16, 8]
    output[0, 10] = [0, 0, 16, 16, 9]  # fits, but is outside
    assigned = loss._assigned(
        *map(tf.constant, (label[..., :4], np.array([[0, -1]]), output[..., :4], output[..., 4:]))
    )
    quality = assigned.quality.numpy()[0]
    assert np.flatnonzero(quality).tolist() == [4, 5]
    np.testing.assert_allclose(quality[[4, 5]], [0.5**6, 1.0], rtol=1e-5)
    # Its loss in NumPy.
    probability = 1 / (1 + np.exp(9.0))
    expected = 0.0
    for position in range(16):
        p = 1 - probability if position == 10 else probability
        q = quality[position]
        crossentropy = -q * np.log(p) - (1 - q) * np.log1p(-p)
        expected += abs(q - p) ** 2 * crossentropy
    expected += 2 * (quality[4] * 0.5 + 0)
    np.testing.assert_allclose(loss.call(label, output), [expected / quality.sum()], rtol=1e-4)


def test_a_small_box_between_centres_and_a_crowd():
    loss = mtl.losses.DetectionLoss(["P3"], (32, 32))
    logits = np.zeros((1, 16, 1), "float32")
    boxes = np.tile(np.array([0, 0, 8, 8], "float32"), (1, 16, 1))
    truth = np.array([[[7.0, 7.0, 9.0, 9.0], [16.0, 16.0, 32.0, 32.0]]], "float32")
    assigned = loss._assigned(*map(tf.constant, (truth, np.array([[0, -2]]), boxes, logits)))
    assert (assigned.quality.numpy() > 0).sum() == 4  # four centres are equally near
    assert np.flatnonzero(~assigned.counted.numpy()[0]).tolist() == [10, 11, 14, 15]
    label = np.concatenate([truth, [[[0], [-2]]]], -1).astype("float32")
    output = np.concatenate([boxes, logits], -1)
    certain = output.copy()
    certain[0, 15, 4] = 9.0
    np.testing.assert_allclose(loss.call(label, output), loss.call(label, certain))  # in the crowd
    certain[0, 3, 4] = 9.0
    assert (loss.call(label, certain).numpy() > loss.call(label, output).numpy() + 1).all()


def test_weights_of_boxes_and_images():
    images, labels = scenes(4)
    labels[0, 0] = [2, 2, 14, 14, 1]
    labels[0, 1:] = -1
    output = small_model().predict(images, verbose=0)["boxes"]
    loss = detection().loss
    weight = np.ones((4, 3), "float32")
    np.testing.assert_allclose(loss.call(labels, output, weight), loss.call(labels, output))
    weight[0, 0] = 0
    without = labels.copy()
    without[0, 0] = -1
    np.testing.assert_allclose(loss.call(labels, output, weight), loss.call(without, output))
    assert loss.row_weight(weight).numpy().tolist() == [1, 1, 1, 1]  # padding keeps the image
    assert loss.row_weight(np.array([1.0, 0.0])).numpy().tolist() == [1, 0]
    assert loss.row_weight(np.zeros((2, 3))).numpy().tolist() == [0, 0]
    weight[0, 0] = 0.5
    assert np.isfinite(loss.call(labels, output, weight)).all()


def test_learns_and_evaluates(tmp_path):
    images, labels = scenes(96)
    counts = (labels[..., 4] >= 0).sum(1)
    model = small_model(mtl.tasks.Count("number", mean=1.5))
    model.compile(keras.optimizers.Adam(0.01))
    y = {"boxes": labels, "number": counts}
    weight = {"boxes": (np.arange(96) % 4 > 0).astype("float32"), "number": np.ones(96, "float32")}
    spoilt = {**y, "boxes": np.where(weight["boxes"][:, None, None] > 0, labels, np.nan)}
    history = model.fit(images, spoilt, sample_weight=weight, batch_size=8, epochs=12, verbose=0).history
    assert history["boxes_loss"][-1] < 0.6 * history["boxes_loss"][0]
    assert "boxes_map" not in history  # in evaluation only
    results = model.evaluate(images, y, batch_size=8, return_dict=True, verbose=0)
    metric = mtl.metrics.MeanAveragePrecision(2)
    metric.update_state(labels, model.tasks[0].predictions(tf.constant(model.predict(images, verbose=0)["boxes"])))
    assert results["boxes_map50"] == pytest.approx(float(metric.result()["map50"]), abs=1e-3)
    assert results["boxes_map50"] > 0.1
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(images[:4], verbose=0)["boxes"], model.predict(images[:4], verbose=0)["boxes"]
    )


BAD = {
    "no area": [5, 5, 5, 9, 0],
    "beyond the image": [5, 5, 60, 9, 0],
    "another format": [30, 20, 10, 10, 1],
    "class": [5, 5, 9, 9, 2],
    "half a class": [5, 5, 9, 9, 0.5],
    "NaN": [5, 5, np.nan, 9, 0],
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("as_dataset", [False, True])
def test_bad_labels_are_refused(kind, as_dataset):
    images, labels = scenes(4)
    labels[2, 1] = BAD[kind]
    model = small_model()
    model.compile("sgd")
    data = [images, {"boxes": labels}]
    if as_dataset:
        data = [tf.data.Dataset.from_tensor_slices(tuple(data)).batch(2)]
    with pytest.raises(ValueError, match=r"`y\['boxes'\]` must (hold boxes in the format 'xyxy'|not hold NaN)"):
        model.fit(*data, verbose=0)


def without_batch_statistics():
    """An encoder whose results do not depend on how a batch is divided, not even by rounding."""
    image = keras.Input((*SIZE, 1))
    fine = keras.layers.Conv2D(8, 5, 4, padding="same", activation="relu")(image)
    coarse = keras.layers.Conv2D(8, 3, 2, padding="same", activation="relu")(fine)
    return mtl.encoders.FeaturePyramid(keras.Model(image, {"P2": fine, "P3": coarse}), LEVELS, 8)


@pytest.mark.parametrize("box_format", ["xywh", "rel_yxyx", "center_xywh"])
def test_formats_of_labels(box_format):
    images, labels = scenes(4)
    converted = labels.copy()
    is_box = labels[..., 4] >= 0
    size = {"height": SIZE[0], "width": SIZE[1]} if box_format.startswith("rel") else {}
    converted[is_box, :4] = keras.utils.bounding_boxes.convert_format(labels[is_box, :4], "xyxy", box_format, **size)
    results = []
    for task, y in ((detection(), labels), (detection(box_format=box_format), converted)):
        model = small_model(box_format=task.box_format)
        model.compile("sgd")
        results.append(model.evaluate(images, {"boxes": y}, return_dict=True, verbose=0))
    assert results[0] == pytest.approx(results[1], rel=1e-4, abs=1e-5)
    wrong = converted.copy()
    wrong[np.nonzero(is_box)[0][0], np.nonzero(is_box)[1][0], :4] = 1000
    for data in ([images, {"boxes": wrong}], [tf.data.Dataset.from_tensor_slices((images, {"boxes": wrong})).batch(2)]):
        with pytest.raises(ValueError, match=rf"hold boxes in the format '{box_format}'"):
            model.fit(*data, verbose=0)


def test_two_formats_are_checked_apart():
    images, labels = scenes(4)
    labels[0, 0] = [1, 1, 20, 14, 0]  # as center_xywh it reaches beyond the left edge
    encoder = mtl.encoders.FeaturePyramid(mtl.encoders.ConvEncoder([4, 8, 8, 8]), LEVELS, 8)
    tasks = [
        mtl.tasks.Detection(name, 2, SIZE, LEVELS, hidden_units=8, box_format=box_format)
        for name, box_format in (("a", "xyxy"), ("b", "center_xywh"))
    ]
    model = mtl.build_model(keras.Input((*SIZE, 1)), mtl.trunks.HardSharing(encoder), tasks)
    model.compile("sgd")
    centred = labels.copy()
    is_box = labels[..., 4] >= 0
    centred[is_box, :4] = keras.utils.bounding_boxes.convert_format(labels[is_box, :4], "xyxy", "center_xywh")
    data = tf.data.Dataset.from_tensor_slices((images, {"a": labels, "b": centred})).batch(4)
    model.fit(data, verbose=0)
    centred[0, 0] = labels[0, 0]
    data = tf.data.Dataset.from_tensor_slices((images, {"a": labels, "b": centred})).batch(4)
    with pytest.raises(ValueError, match=r"y\['b'\].*'center_xywh'"):
        model.fit(data, verbose=0)


def test_a_nan_in_a_box_shows():
    output = np.full((2, 120, 6), -3.0, "float32")
    output[..., :4] = [0, 0, 8, 8]
    output[1, :, 2] = np.nan
    label = np.array([[[0, 0, 8, 8, 0]]] * 2, "float32")
    loss = detection().loss
    assert np.isnan(loss.call(label, output).numpy()).tolist() == [False, True]
    assert np.isnan(loss.call(-np.ones_like(label), output).numpy()).tolist() == [False, True]


def test_batches_without_a_box():
    images, _ = scenes(4)
    model = small_model()
    model.compile("sgd")
    padded = model.evaluate(images, {"boxes": np.full((4, 1, 5), -1.0)}, return_dict=True, verbose=0)
    none = model.evaluate(images, {"boxes": np.zeros((4, 0, 5))}, return_dict=True, verbose=0)
    assert none == pytest.approx(padded)
    model.fit(images, {"boxes": np.zeros((4, 0, 5))}, sample_weight={"boxes": np.ones((4, 0))}, verbose=0)


def test_weights_with_further_axes_and_of_one_box():
    _, labels = scenes(4)
    labels[:, 0] = [2, 2, 14, 14, 1]
    labels[:, 1] = [20, 10, 34, 24, 0]
    output = np.tile(np.array([4, 4, 16, 18, -1, 1], "float32"), (4, 120, 1))
    output[:, ::2] = [19, 12, 33, 24, 1, -1]
    loss, weight = detection().loss, np.array([[1, 0.25, 1]] * 4, "float32")
    expected = loss.call(labels, output, weight)
    np.testing.assert_allclose(loss.call(labels, output, weight[..., None]), expected)
    assert np.abs(loss.call(labels, output) - expected).max() > 1e-3
    one, padded = labels[:, :1], np.concatenate([labels[:, :1], -np.ones((4, 1, 5))], 1).astype("float32")
    quarter = np.full((4, 1), 0.25, "float32")
    np.testing.assert_allclose(
        loss.call(one, output, quarter), loss.call(padded, output, np.repeat(quarter, 2, 1)), rtol=1e-6
    )


def test_replicas_equal_one_device():
    images, labels = scenes(12)
    weight = (np.arange(12) % 3 > 0).astype("float32")
    weights, results = [], []
    for strategy in (tf.distribute.get_strategy(), mtl.distribute.strategy("mirrored")):
        keras.utils.set_random_seed(0)
        with strategy.scope():
            trunk = mtl.trunks.HardSharing(without_batch_statistics())
            model = mtl.build_model(keras.Input((*SIZE, 1), name="image"), trunk, [detection()])
            model.compile(keras.optimizers.SGD(0.05))
        data = tf.data.Dataset.from_tensor_slices((images, {"boxes": labels}, {"boxes": weight})).batch(12)
        before = [keras.ops.convert_to_numpy(v) for v in model.trainable_weights]
        model.fit(data, verbose=0)  # one step: later ones may assign positions otherwise, for rounding errors
        after = [keras.ops.convert_to_numpy(v) for v in model.trainable_weights]
        assert all(np.abs(x - y).max() > 1e-4 for x, y in zip(before, after, strict=True))
        weights.append(after)
        results.append(model.evaluate(data, return_dict=True, verbose=0))
    assert strategy.num_replicas_in_sync > 1
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert results[0] == pytest.approx(results[1], rel=1e-4, abs=1e-5)


def test_wrong_sizes_and_missing_levels():
    with pytest.raises(ValueError, match="`image_size`.*\\(height, width\\)"):
        mtl.tasks.Detection("boxes", 2, 32)
    with pytest.raises(ValueError, match="`levels`"):
        mtl.tasks.Detection("boxes", 2, SIZE, ["map"])
    with pytest.raises(ValueError, match="`box_format`.*'xywh'"):
        detection(box_format="xywh_")
    encoder = mtl.encoders.ConvEncoder([4, 8, 8, 8])
    with pytest.raises(ValueError, match=r"features\['P2'\] must have the size \(8, 12\), received \(4, 4\)"):
        mtl.build_model(keras.Input((16, 16, 1)), mtl.trunks.HardSharing(encoder), [detection()])
    encoder = mtl.encoders.ConvEncoder([4, 8])
    with pytest.raises(ValueError, match="reads the levels.*FeaturePyramid"):
        mtl.build_model(keras.Input((*SIZE, 1)), mtl.trunks.HardSharing(encoder), [detection()])
    with pytest.raises(ValueError, match="`encoder` of FeaturePyramid"):
        mtl.encoders.FeaturePyramid(mtl.encoders.ConvEncoder([4, 8]))(np.ones((1, 8, 8, 1)))
