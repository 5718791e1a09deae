"""Encoded images to pixels and back: letterbox, boxes, the export from bytes."""

import json

import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

SIZE = (32, 48)


def encoded(height, width, box=None, kind="png"):
    """A black picture with a white rectangle."""
    pixels = np.zeros((height, width, 3), "uint8")
    if box is not None:
        left, top, right, bottom = box
        pixels[top:bottom, left:right] = 255
    return (tf.io.encode_png(pixels) if kind == "png" else tf.io.encode_jpeg(pixels, quality=100)).numpy()


@pytest.mark.parametrize("kind", ["png", "jpeg"])
@pytest.mark.parametrize("stretch", [False, True])
@pytest.mark.parametrize(("height", "width"), [(64, 96), (100, 60), (20, 100), (32, 48), (16, 16)])
def test_boxes_move_with_their_pixels(height, width, stretch, kind):
    box = [width // 7, height // 4, width - width // 3, height - height // 5]
    preprocessor = mtl.images.ImagePreprocessor(SIZE, stretch=stretch)
    images = [encoded(height, width, box, kind), encoded(64, 96)]
    pixels = preprocessor(images).numpy()
    assert pixels.shape == (2, *SIZE, 3)
    rows, columns = np.nonzero(pixels[0, ..., 0] > 160)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    located = preprocessor.locate(images)
    moved = located.model_boxes(tf.constant([[box], [box]], tf.float32))
    np.testing.assert_allclose(moved[0, 0], found, atol=1.01 if width > 20 else 4)
    np.testing.assert_allclose(located.original_boxes(moved)[0, 0], box, atol=1e-3)
    has_ground = not stretch and height * SIZE[1] != width * SIZE[0]
    assert np.abs(pixels[0, 0, 0] - (128 if has_ground else 0)).max() < 3


def test_original_boxes_are_clipped_to_the_original_image():
    located = mtl.images.ImagePreprocessor(SIZE).placed([[10, 30]])
    boxes = located.original_boxes(tf.constant([[[-9.0, 0.0, 48.0, 32.0]]]))
    assert boxes.numpy().tolist() == [[[0.0, 0.0, 30.0, 10.0]]]


def test_grey_and_bad_arguments():
    grey = mtl.images.ImagePreprocessor(SIZE, channels=1)
    bmp = b"BM" + (70).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little") + (40).to_bytes(4, "little")
    bmp += (2).to_bytes(4, "little") * 2 + b"\1\0\x18\0" + bytes(24) + bytes([255] * 6 + [0, 0]) * 2
    assert grey([encoded(8, 8), bmp]).shape == (2, *SIZE, 1)
    assert type(grey).from_config(grey.get_config()).get_config() == grey.get_config()
    with pytest.raises(ValueError, match="`channels`.*4"):
        mtl.images.ImagePreprocessor(SIZE, channels=4)
    with pytest.raises(ValueError, match="`image_size`"):
        mtl.images.ImagePreprocessor((0, 3))


def test_answers_and_exports_from_bytes(tmp_path):
    preprocessor = mtl.images.ImagePreprocessor(SIZE)
    tasks = [mtl.tasks.Detection("boxes", ["a"], SIZE, ["P2"], hidden_units=[4], threshold=0.0, most=3)]
    tasks += [mtl.tasks.Count("number"), mtl.tasks.Classification("kind", ["x", "y"])]
    model = mtl.build_model(preprocessor.inputs(), mtl.trunks.HardSharing(mtl.encoders.ConvEncoder([4, 4, 4])), tasks)
    images = [encoded(64, 96, (10, 20, 60, 40)), encoded(100, 60, kind="jpeg")]
    answers = model.answer(images, preprocessor)
    boxes, original = answers["boxes"]["boxes"], answers["boxes"]["original_boxes"]
    np.testing.assert_allclose(original[0], boxes[0] * 2, rtol=1e-4)
    assert original[1].max() <= 100
    path = mtl.export.saved_model(model, tmp_path / "export", preprocessor=preprocessor, warmup=images)
    served = tf.saved_model.load(str(path)).signatures["serving_default"](image=tf.constant(images))
    for task, answer in answers.items():
        for key, value in answer.items():
            if value.dtype.kind == "f":
                np.testing.assert_allclose(served[f"{task}_{key}"], value, rtol=1e-4, atol=1e-3)
    card = json.loads((path / "model_card.json").read_text())
    assert card["signatures"]["boxes"]["inputs"].keys() == {"image"}
