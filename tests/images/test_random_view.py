"""Random views: boxes, maps and points stay where their pixels are."""

import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

SIZE = (60, 80)


def scene(rng):
    """An image with one rectangle, its box, its map and its corners."""
    left, top = rng.integers(5, 45), rng.integers(5, 30)
    right, bottom = left + rng.integers(10, 25), top + rng.integers(10, 25)
    image = np.zeros((*SIZE, 3), "float32")
    image[top:bottom, left:right] = 255
    mask = (image[..., 0] > 0).astype("int32")
    boxes = np.array([[left, top, right, bottom, 1], [-1, -1, -1, -1, -1]], "float32")
    points = np.array([[left, top], [right, bottom]], "float32")
    return image, {"boxes": boxes, "mask": mask, "points": points}


VIEW = {"boxes": "boxes", "maps": {"mask": 255}, "points": ["points"]}


@pytest.mark.parametrize("seed", range(25))
def test_everything_moves_together(seed):
    x, y = scene(np.random.default_rng(seed))
    view = mtl.images.RandomView(
        **VIEW, horizontal_flip=0.5, vertical_flip=0.5, zoom=(0.7, 1.4), shift=0.15, visible=0.0, ground=0.0
    )
    x, moved = view(x, y, [3, seed])
    rows, columns = np.nonzero(x[..., 0] > 127)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(moved["boxes"][0, :4], found, atol=1.01)
    assert moved["boxes"][1].numpy().tolist() == [-1] * 5
    inside = (moved["mask"] == 1).numpy()
    assert (inside != (x[..., 0].numpy() > 127)).sum() <= 2 * (len(set(rows)) + len(set(columns)))
    for point in moved["points"].numpy():
        if point[0] >= 0:
            corners = [[found[i], found[j]] for i in (0, 2) for j in (1, 3)]
            assert np.abs(np.array(corners) - point).sum(1).min() < 2.1


def test_objects_that_leave_the_view():
    boxes = np.array([[0, 0, 20, 20, 0], [30, 20, 50, 40, 1], [0, 0, 4, 4, -3]], "float32")
    view = mtl.images.RandomView(boxes=["b"], horizontal_flip=0, zoom=(2.0, 2.0), shift=0.0, visible=0.5)
    _, y = view(np.zeros((*SIZE, 3), "float32"), {"b": boxes}, [0, 0])  # of what is within [20, 60] x [15, 45]
    assert y["b"].numpy()[0].tolist() == [-1] * 5
    assert y["b"].numpy()[1].tolist() == [20, 10, 60, 50, 1]
    assert y["b"].numpy()[2].tolist() == [-1] * 5
    boxes[0] = [10, 10, 30, 30, 0]  # a quarter and more is in view
    _, y = view(np.zeros((*SIZE, 3), "float32"), {"b": boxes}, [0, 0])
    assert y["b"].numpy()[0].tolist() == [0, 0, 20, 30, -2]


def test_nothing_changes_without_randomness():
    x, y = scene(np.random.default_rng(0))
    view = mtl.images.RandomView(**VIEW, horizontal_flip=0, zoom=(1.0, 1.0), shift=0.0)
    same_x, same_y = view(x, y, [1, 2])
    np.testing.assert_allclose(same_x, x, atol=1e-3)
    for key, value in y.items():
        np.testing.assert_allclose(same_y[key], value, atol=1e-4)


def test_a_mixture_repeats_its_views_from_any_step():
    x, y = scene(np.random.default_rng(0))
    rows = tf.data.Dataset.from_tensors((x, {"boxes": y["boxes"]})).repeat(3)
    view = mtl.images.RandomView(boxes=["boxes"])
    mixture = mtl.data.mix({"a": rows}, batch_size=2, seed=4, augment=view, shuffle_buffer=3)
    batches = [batch[1]["boxes"].numpy() for batch in mixture.take(6)]
    assert len({batch.tobytes() for batch in batches}) == 6  # another view each time
    for step in (0, 2, 5):
        again = next(iter(mixture.skip(step)))[1]["boxes"].numpy()
        np.testing.assert_array_equal(again, batches[step])


def test_augment_may_add_labels():
    rows = tf.data.Dataset.from_tensors((np.ones(2), {"boxes": np.zeros((2, 5))})).repeat(3)
    mixture = mtl.data.mix(
        {"a": rows}, batch_size=2, seed=0, augment=lambda x, y, seed: (x, {"number": tf.reduce_sum(y["boxes"])})
    )
    _, y, weight = next(iter(mixture))
    assert set(y) == set(weight) == {"number"}


def test_one_of_several_inputs():
    x, y = scene(np.random.default_rng(0))
    inputs = {"picture": x, "text": np.arange(3)}
    moved, labels = mtl.images.RandomView(image="picture", boxes=["boxes"])(inputs, y, [1, 2])
    expected, same = mtl.images.RandomView(boxes=["boxes"])(x, y, [1, 2])
    np.testing.assert_array_equal(moved["picture"], expected)
    np.testing.assert_array_equal(labels["boxes"], same["boxes"])
    assert moved["text"] is inputs["text"]


def test_directions_turn_with_a_flip():
    directions = np.tile(np.array([0.6, 0.0, 0.8], "float32"), (4, 6, 1))
    view = mtl.images.RandomView(normals=["n"], horizontal_flip=1.0, zoom=(0.5, 0.5), shift=0.0)
    _, y = view(np.zeros((4, 6, 3), "uint8"), {"n": directions, "other": 3}, [0, 0])
    np.testing.assert_allclose(y["n"][1, 2], [-0.6, 0, 0.8])
    assert not y["n"][0].numpy().any()
    assert y["other"] == 3


def test_depth_around_the_image_is_missing():
    view = mtl.images.RandomView(maps={"depth": 0}, zoom=(0.5, 0.5), shift=0.0, horizontal_flip=0.0)
    _, y = view(np.zeros((8, 8, 3), "float32"), {"depth": np.full((8, 8), 3.0, "float32")}, [1, 2])
    perfect = np.full((1, 8, 8, 1), 3.0, "float32")
    assert float(mtl.losses.DepthLoss("l1").call(y["depth"][None], perfect)[0]) == 0
    assert float(tf.reduce_sum(y["depth"])) == 3 * 16


def test_numbers_of_other_types():
    boxes = np.array([[2, 1, 10, 8, 0], [2.0, 2.0, 2.9, 3.0, 1.0]])
    view = mtl.images.RandomView(boxes=["d"], points=["p"], horizontal_flip=0, zoom=(1.0, 1.0), shift=0.0)
    _, y = view(np.zeros((20, 30, 3), "uint8"), {"d": boxes, "p": np.array([[1, 2]])}, [1, 2])
    np.testing.assert_allclose(y["d"], boxes, rtol=1e-6)
    assert y["p"].numpy().tolist() == [[1, 2]]


def test_sources_that_label_different_tasks():
    image = np.zeros((4, 20, 30, 3), "float32")
    a = tf.data.Dataset.from_tensor_slices((image, {"det": np.full((4, 2, 5), -1, "float32")}))
    b = tf.data.Dataset.from_tensor_slices((image, {"seg": np.ones((4, 20, 30), "uint8")}))
    view = mtl.images.RandomView(boxes=["det"], maps={"seg": 255})
    _, y, weight = next(iter(mtl.data.mix({"a": a, "b": b}, batch_size=4, seed=0, augment=view)))
    assert set(y) == set(weight) == {"det", "seg"}
    with pytest.raises(ValueError, match="labels of 'dets'.*'det'"):
        mtl.data.mix({"a": a, "b": b}, augment=mtl.images.RandomView(boxes=["dets"]))
