"""Segmentation, depth, normals, keypoints: training on scenes, missing labels, levels, labels of images, exports."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

SIZE = (16, 24)


def scenes(rows=32, seed=0):
    """A rectangle that is nearer than the ground, and its first corner; rows of every kind of missing label."""
    rng = np.random.default_rng(seed)
    images = np.zeros((rows, *SIZE, 1), "float32")
    points = np.zeros((rows, 2, 2), "float32")
    for row in range(rows):
        left, top = rng.integers(0, 14), rng.integers(0, 8)
        images[row, top : top + 8, left : left + 10] = 1
        points[row] = [[left, top], [left + 10, top + 8]]
    mask = (images[..., 0] > 0).astype("int32")
    depth = np.where(mask, 2.0, 5.0).astype("float32")
    normals = np.stack([mask, 0 * mask, 1 - mask], -1).astype("float32")
    mask[:, 0], depth[:, 1], normals[:, 2], points[0, 1] = 255, 0, 0, -1
    return images, {"parts": mask, "depth": depth, "normals": normals, "corners": points}


def tasks(levels, loss="both"):
    options = {"levels": levels, "units": 8}
    return [
        mtl.tasks.Segmentation("parts", ["ground", "item"], SIZE, loss=loss, per_class=True, **options),
        mtl.tasks.Depth("depth", SIZE, typical=3.0, after={"parts": "hidden"}, **options),
        mtl.tasks.Normals("normals", SIZE, hidden_units=8, **options),
        mtl.tasks.Keypoints("corners", ["first", "last"], SIZE, **options),
    ]


def build(levels, **options):
    keras.utils.set_random_seed(0)
    heads = tasks(levels, **options)
    heads[0] = mtl.tasks.Segmentation.from_config({**heads[0].get_config(), "hidden_units": 8})
    trunk = mtl.trunks.HardSharing(mtl.encoders.ConvEncoder([4, 8, 8]))
    return mtl.build_model(keras.Input((*SIZE, 1), name="image"), trunk, heads)


@pytest.mark.parametrize("levels", [None, ["P1", "P2"]])
def test_learns_with_missing_labels(levels, tmp_path):
    images, y = scenes()
    model = build(levels)
    model.compile(keras.optimizers.Adam(0.01))
    history = model.fit(images, y, batch_size=8, epochs=15, verbose=0).history
    for task in y:
        assert history[f"{task}_loss"][-1] < 0.7 * history[f"{task}_loss"][0], task
    results = model.evaluate(images, y, return_dict=True, verbose=0)
    outputs = model.predict(images, verbose=0)
    # What is missing counts nowhere, whatever it holds.
    valid = y["parts"] != 255
    predicted = outputs["parts"].argmax(-1)
    assert results["parts_accuracy"] == pytest.approx((predicted == y["parts"])[valid].mean(), abs=1e-5)
    ious = [
        ((predicted == k) & (y["parts"] == k) & valid).sum() / (((predicted == k) | (y["parts"] == k)) & valid).sum()
        for k in (0, 1)
    ]
    assert results["parts_mean_iou"] == pytest.approx(np.mean(ious), abs=1e-5)
    assert results["parts_iou_item"] == pytest.approx(ious[1], abs=1e-5)
    assert results["parts_mean_iou"] > 0.5
    valid = y["depth"] > 0
    error = outputs["depth"][..., 0] - y["depth"]
    assert results["depth_rmse"] == pytest.approx(np.sqrt((error[valid] ** 2).mean()), rel=1e-4)
    relative = np.abs(error)[valid] / y["depth"][valid]
    assert results["depth_abs_rel"] == pytest.approx(relative.mean(), rel=1e-4)
    np.testing.assert_allclose(np.linalg.norm(outputs["normals"], axis=-1), 1, atol=1e-4)
    distance = np.linalg.norm(outputs["corners"] - y["corners"], axis=-1)
    valid = (y["corners"] >= 0).all(-1)
    assert results["corners_pck"] == pytest.approx((distance <= 0.05 * 24)[valid].mean(), abs=1e-5)
    assert results["corners_loss"] == pytest.approx(
        np.abs(outputs["corners"] - y["corners"]).sum(-1)[valid].mean() / 2.4, rel=1e-4
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for task, output in loaded.predict(images[:2], verbose=0).items():
        np.testing.assert_array_equal(output, model.predict(images[:2], verbose=0)[task])


def test_weights_of_images_and_pixels():
    images, y = scenes(8)
    model = build(None, loss="crossentropy")
    model.compile("sgd")
    kept = np.arange(8) % 2
    weight = {task: kept.astype("float32") for task in y} | {"depth": np.repeat(kept, 16 * 24).reshape(8, 16, 24)}
    spoilt = {task: np.where(kept.reshape(8, *[1] * (v.ndim - 1)) > 0, v, 77) for task, v in y.items()}
    results = model.evaluate(images, spoilt, sample_weight=weight, return_dict=True, verbose=0)
    alone = model.evaluate(images[kept > 0], {task: v[kept > 0] for task, v in y.items()}, return_dict=True, verbose=0)
    assert results == pytest.approx(alone, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("loss", ["crossentropy", "dice"])
def test_distillation(loss):
    images, y = scenes(8)
    student, teacher = build(None, loss=loss), build(None, loss=loss)
    trained = mtl.distill(student, dict.fromkeys(y, teacher), annealing_steps=10)
    trained.compile("sgd")
    history = trained.fit(images, y, sample_weight={"corners": np.ones((8, 2))}, verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_depths_begin_near_the_typical_one():
    images, _ = scenes(4)
    encoder = mtl.encoders.ConvEncoder([8, 64, 64])
    task = mtl.tasks.Depth("depth", SIZE, typical=3.0, levels=["P1", "P2"])
    model = mtl.build_model(keras.Input((*SIZE, 1)), mtl.trunks.HardSharing(encoder), [task])
    np.testing.assert_allclose(model.predict(images, verbose=0)["depth"], 3.0, rtol=0.1)


def test_bad_labels_and_arguments():
    images, y = scenes(4)
    model = build(None)
    model.compile("sgd")
    for task, wrong in (
        ("parts", np.full((4, *SIZE), 2)),
        ("parts", np.zeros((4, 8, 8), int)),
        ("depth", np.full((4, *SIZE), np.nan)),
        ("normals", np.zeros((4, *SIZE, 2))),
        ("corners", np.zeros((4, 3, 2))),
    ):
        with pytest.raises(ValueError, match=rf"y\['{task}'\]"):
            model.fit(images, {**y, task: wrong}, verbose=0)
    with pytest.raises(ValueError, match="`loss`.*'both'"):
        mtl.tasks.Segmentation("parts", 2, SIZE, loss="bot")
    with pytest.raises(ValueError, match="at most 255"):
        mtl.tasks.Segmentation("parts", 256, SIZE)
    with pytest.raises(ValueError, match="`typical`"):
        mtl.tasks.Depth("depth", SIZE, typical=0)
    trunk = mtl.trunks.HardSharing(mtl.encoders.ConvEncoder([4]))
    with pytest.raises(ValueError, match=r"reads the maps \['P5'\]"):
        mtl.build_model(keras.Input((*SIZE, 1)), trunk, [mtl.tasks.Depth("depth", SIZE, levels=["P5"])])


def test_labels_of_images_and_answers():
    heads = tasks(None)
    preprocessor = mtl.images.ImagePreprocessor(SIZE, channels=1)
    pixels = np.zeros((32, 32, 1), "uint8")
    mask = np.zeros((32, 32, 1), "uint8")
    mask[:, 16:] = 1
    record = {
        "image": tf.io.encode_png(pixels),
        "parts": tf.io.encode_png(mask),
        "depth": tf.fill([32, 32], 2.0),
        "normals": tf.ones([32, 32, 3]),
        "corners": tf.constant([[0.0, 32.0], [-1.0, 5.0]]),
    }
    records = tf.data.Dataset.from_tensors(record)
    _, y, weights = next(iter(mtl.data.encode_images(records, preprocessor, heads)))
    assert {name: float(weight) for name, weight in weights.items()} == {"parts": 1}
    assert y["parts"].numpy().tolist() == [[255] * 4 + [0] * 8 + [1] * 8 + [255] * 4] * 16
    assert y["depth"].numpy().tolist() == [[0] * 4 + [2] * 16 + [0] * 4] * 16
    assert y["normals"].shape == (*SIZE, 3)
    assert y["corners"].numpy().tolist() == [[4, 16], [-1, -1]]
    deep = {**record, "depth": tf.io.encode_png(np.full((32, 32, 1), 1234, "uint16"))}
    _, of_deep, _ = next(iter(mtl.data.encode_images(tf.data.Dataset.from_tensors(deep), preprocessor, heads)))
    assert of_deep["depth"].dtype == tf.float32
    assert of_deep["depth"].numpy()[0].tolist() == [0] * 4 + [1234] * 16 + [0] * 4
    small = {**record, "parts": tf.io.encode_png(mask[:16])}
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have the size of its image"):
        next(iter(mtl.data.encode_images(tf.data.Dataset.from_tensors(small), preprocessor, heads)))
    missing = {**record, "parts": ""}
    _, y, weights = next(iter(mtl.data.encode_images(tf.data.Dataset.from_tensors(missing), preprocessor, heads)))
    assert (y["parts"].numpy() == 255).all()
    assert float(weights["parts"]) == 0
    model = build(None)
    answer = model.answer([record["image"].numpy()], preprocessor)
    points = answer["corners"]
    np.testing.assert_allclose(points["original_points"], (points["points"] - [4, 0]) * 2, rtol=1e-4)
    assert answer["parts"]["classes"].shape == (1, *SIZE)
    assert float(answer["parts"]["fractions"].sum()) == pytest.approx(1)


def test_files_of_label_maps():
    from PIL import Image, PngImagePlugin

    from tf_mtl.tasks._map_files import decode_map

    def encoded(picture, kind="png", **options):
        file = io.BytesIO()
        picture.save(file, kind, **options)
        return tf.constant(file.getvalue())

    classes = np.arange(40, dtype="uint8").reshape(5, 8)
    palette = Image.fromarray(classes, "P")
    palette.putpalette(np.random.default_rng(0).permutation(256).repeat(3).tolist())  # each grey at another index
    repeated = Image.fromarray(np.where(classes == 7, 255, classes).astype("uint8"), "P")
    repeated.putpalette([0, 0, 0, 9, 9, 9] * 128)  # two colours for all indices
    notes = PngImagePlugin.PngInfo()
    notes.add_text("PLTE", "made with PLTE")
    few = Image.fromarray(classes % 4, "P")
    few.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    grey = Image.fromarray(classes)
    same = Image.merge("RGB", [grey] * 3)
    for picture, expected in (
        (grey, classes),
        (palette, classes),
        (few, classes % 4),
        (Image.fromarray(classes % 2 == 1), classes % 2),  # one bit
        (Image.fromarray(classes.astype("uint16") * 999), classes.astype(int) * 999),
        (Image.merge("LA", [grey, grey]), classes),
        (same, classes),
        (Image.merge("RGBA", [grey] * 4), classes),
    ):
        np.testing.assert_array_equal(decode_map(encoded(picture), ""), expected)
    np.testing.assert_array_equal(decode_map(encoded(same, "bmp"), ""), classes)
    np.testing.assert_array_equal(decode_map(encoded(few, pnginfo=notes), ""), classes % 4)
    np.testing.assert_array_equal(decode_map(encoded(repeated), ""), np.where(classes == 7, 255, classes))
    damaged = bytearray(encoded(palette).numpy())
    damaged[33:41] = b"\xff\xff\xff\xf4none"  # a chunk whose length leads back to itself
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_map(tf.constant(bytes(damaged)), "")
    deep = tf.io.encode_png(np.repeat(classes[..., None].astype("uint16") * 999, 3, -1))
    np.testing.assert_array_equal(decode_map(deep, ""), classes.astype(int) * 999)
    with pytest.raises(tf.errors.InvalidArgumentError, match="(?s)must not be a JPEG file.*b.jpg"):
        decode_map(encoded(grey, "jpeg"), tf.constant("b.jpg"))
    colours = Image.merge("RGB", [grey, grey, Image.fromarray(classes + 1)])
    with pytest.raises(tf.errors.InvalidArgumentError, match="(?s)other colours. Its picture.*a.jpg"):
        decode_map(encoded(colours), tf.constant("a.jpg"))


def test_expected_points():
    logits = np.full((1, 4, 6, 2), -50.0, "float32")
    logits[0, 1, 2, 0] = 50
    logits[0, 3, [0, 5], 1] = 50
    from tf_mtl.layers._expected_points import ExpectedPoints

    np.testing.assert_allclose(ExpectedPoints(SIZE)(logits), [[[10, 6], [12, 14]]], rtol=1e-5)
