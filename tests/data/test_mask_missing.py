import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl


def rows():
    y = {"topic": np.array([2, -1, 0, -1]), "price": np.array([1.0, np.nan, np.nan, 4.0])}
    return tf.data.Dataset.from_tensor_slices((np.arange(4.0), y))


@pytest.mark.parametrize("batch", [False, True])
def test_markers_become_weights(batch):
    masked = mtl.data.mask_missing(rows().batch(4) if batch else rows(), {"topic": -1, "price": float("nan")})
    weights = [w for _, _, w in masked]
    topic = np.concatenate([np.atleast_1d(w["topic"]) for w in weights])
    price = np.concatenate([np.atleast_1d(w["price"]) for w in weights])
    np.testing.assert_array_equal(topic, [1, 0, 1, 0])
    np.testing.assert_array_equal(price, [1, 0, 0, 1])
    assert topic.dtype == np.float32


def test_tasks_without_a_marker_keep_their_labels_and_weights_multiply():
    masked = mtl.data.mask_missing(rows(), {"topic": -1})
    assert all(set(w) == {"topic"} for _, _, w in masked)  # without a weight, all labels count
    weighted = rows().map(lambda x, y: (x, y, {"topic": 0.5}))
    masked = list(mtl.data.mask_missing(weighted, {"topic": -1, "price": float("nan")}))
    assert [float(w["topic"]) for _, _, w in masked] == [0.5, 0, 0.5, 0]
    assert [float(w["price"]) for _, _, w in masked] == [1, 0, 0, 1]


def test_cells_of_a_label_vector():
    y = {"tags": np.array([[1.0, np.nan], [0.0, 1.0]])}
    masked = mtl.data.mask_missing(
        tf.data.Dataset.from_tensors((np.ones(2), y, {"tags": np.array([0.5, 1.0])})), {"tags": float("nan")}
    )
    ((_, _, weight),) = masked
    np.testing.assert_array_equal(weight["tags"], [[0.5, 0.0], [1.0, 1.0]])


def test_one_weight_for_all_tasks_and_weights_of_another_rank():
    data = (np.ones(2), {"a": np.array([1.0, np.nan]), "b": np.array([1, 2])}, np.array([[0.5], [0.25]]))
    ((_, _, weight),) = mtl.data.mask_missing(tf.data.Dataset.from_tensors(data), {"a": float("nan")})
    np.testing.assert_array_equal(weight["a"], [0.5, 0.0])
    np.testing.assert_array_equal(weight["b"], [[0.5], [0.25]])


def test_markers_of_integer_labels():
    data = tf.data.Dataset.from_tensors((np.ones(2), {"t": np.array([255, 3], "uint8")}))
    for marker, expected in ((255.0, [0, 1]), (-1, [1, 1])):
        ((_, _, weight),) = mtl.data.mask_missing(data, {"t": marker})
        np.testing.assert_array_equal(weight["t"], expected)


def test_errors():
    with pytest.raises(ValueError, match=r"`markers\['topic'\]` is 0.5.*int64"):
        mtl.data.mask_missing(rows(), {"topic": 0.5})
    with pytest.raises(ValueError, match=r"`markers\['topic'\]` is nan.*int64"):
        mtl.data.mask_missing(rows(), {"topic": float("nan")})
    with pytest.raises(ValueError, match="`markers`.*'topics'.*Did you mean 'topic'"):
        mtl.data.mask_missing(rows(), {"topics": -1})
    with pytest.raises(TypeError, match=r"\(x, \{task: y\}\)"):
        mtl.data.mask_missing(tf.data.Dataset.range(3), {"topic": -1})
