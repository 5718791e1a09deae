"""In-batch negatives: known answers, duplicates and missing labels against NumPy, gradients, saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

# From NumPy, with temperature 0.1.
QUERIES = [
    [0.28277, -0.52504, 0.77908, 0.19342],
    [-0.1957, 0.03879, -0.61259, 0.76481],
    [0.11867, -0.13777, -0.98324, -0.01344],
    [0.55685, 0.61446, -0.17922, 0.52938],
    [0.38188, -0.17463, 0.54452, -0.72607],
]
DOCUMENTS = [
    [-0.20735, -0.94635, -0.14895, -0.19809],
    [0.41475, 0.45955, -0.08811, 0.78041],
    [0.21578, -0.3368, -0.91402, -0.06763],
    [0.68432, -0.55122, 0.47734, -0.00351],
    [0.539, -0.57552, 0.2996, -0.53712],
]
VECTORS = np.concatenate([QUERIES, DOCUMENTS], 1).astype("float32")
LOSSES = {
    False: [5.770718, 0.232633, 0.0009, 9.873167, 0.088093],
    True: [3.241995, 1.904375, 0.003283, 9.478453, 0.074946],
}


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("labels", [None, np.arange(5), np.full(5, 3), np.zeros((5, 1), "float32")])
def test_known_answers_without_duplicates(labels, symmetric):
    loss = mtl.losses.InBatchSoftmax(0.1, symmetric)
    np.testing.assert_allclose(loss.call(labels, VECTORS), LOSSES[symmetric], rtol=1e-4, atol=1e-6)


def expected(labels, weight, temperature, symmetric):
    """The same in NumPy, row by row; only labelled rows."""
    queries, documents = np.split(VECTORS.astype("float64"), 2, 1)
    losses = {}
    for row in np.flatnonzero(weight):
        others = [i for i in np.flatnonzero(weight) if i != row and labels[i] != labels[row]]
        directions = []
        for own, pool in [(queries, documents), (documents, queries)][: 1 + symmetric]:
            scores = np.exp(own[row] @ pool[[row, *others]].T / temperature)
            directions.append(-np.log(scores[0] / scores.sum()))
        losses[row] = np.mean(directions)
    return losses


@pytest.mark.parametrize("symmetric", [False, True])
def test_duplicates_and_missing_labels(symmetric):
    labels, weight = np.array([7, 9, 7, 9, 7]), np.array([1.0, 0.5, 2.0, 0.0, 1.0], "float32")
    vectors = VECTORS.copy()
    vectors[3] = np.nan  # a row without a label may hold anything
    loss, variable = mtl.losses.InBatchSoftmax(0.2, symmetric), tf.Variable(vectors)
    with tf.GradientTape() as tape:
        values = loss.call(labels, variable, weight)
        total = tf.reduce_sum(tf.gather(values, [0, 1, 2, 4]))
    for row, value in expected(labels, weight, 0.2, symmetric).items():
        assert float(values[row]) == pytest.approx(value, rel=1e-5, abs=1e-6)
    gradient = tape.gradient(total, variable).numpy()
    assert np.isfinite(gradient).all()
    assert not gradient[3].any()
    assert gradient[0].any()


def test_hard_negatives_and_probabilities():
    """Of rows 0, 1 and 3, each with two hard negatives, and a correction of the documents' scores."""
    rng = np.random.default_rng(2)
    negatives = rng.normal(size=(2, 5, 4))
    vectors = np.concatenate([VECTORS, *negatives], 1).astype("float32")
    labels, weight = np.array([2, 0, 1, 2, 1]), np.array([1.0, 1.0, 0.0, 1.0, 0.0], "float32")
    vectors[4, 8:] = np.nan
    probabilities = [0.5, 0.1, 0.25]
    loss = mtl.losses.InBatchSoftmax(0.2, hard_negatives=2, probabilities=probabilities)
    loss = keras.losses.deserialize(keras.losses.serialize(loss))
    values = loss.call(labels, vectors, weight).numpy()
    queries, documents = np.split(VECTORS.astype("float64"), 2, 1)
    rows = [0, 1, 3]
    corrected = np.exp(queries @ documents.T / 0.2) / np.array(probabilities)[labels]
    for row in rows:
        own = corrected[row, row]
        others = sum(corrected[row, other] for other in rows if labels[other] != labels[row])
        hard = np.exp(np.einsum("d,knd->kn", queries[row], negatives[:, rows]) / 0.2).sum()
        assert values[row] == pytest.approx(-np.log(own / (own + others + hard)), rel=1e-4)
    of_floats = loss.call(np.where(weight > 0, labels, -1).astype("float32"), vectors, weight).numpy()
    np.testing.assert_array_equal(of_floats[rows], values[rows])
    with pytest.raises(ValueError, match="received none"):
        mtl.losses.InBatchSoftmax(probabilities=[])
    with pytest.raises(ValueError, match="probabilities"):
        mtl.losses.InBatchSoftmax(probabilities=[0.5, 0.0])


def test_one_labelled_document():
    """Where the only other row has no label, the label of the rest is a constant, and those are negatives."""
    values = mtl.losses.InBatchSoftmax(0.1).call(np.array([7, 7, 7, 7, 9]), VECTORS, np.array([1, 1, 1, 1, 0]))
    reference = expected(np.arange(5), [1, 1, 1, 1, 0], 0.1, False)
    np.testing.assert_allclose(values[:4], [reference[row] for row in range(4)], rtol=1e-4)


def test_nan_of_a_labelled_row_is_not_hidden():
    vectors = VECTORS.copy()
    vectors[1, 0] = np.nan
    assert np.isnan(mtl.losses.InBatchSoftmax().call(np.arange(5), vectors)[1])


def test_config_and_errors():
    loss = mtl.losses.InBatchSoftmax(0.3, symmetric=True)
    restored = keras.losses.deserialize(keras.losses.serialize(loss))
    assert (restored.temperature, restored.symmetric) == (0.3, True)
    with pytest.raises(ValueError, match=r"`temperature` must be a number in \(0, inf\), received 0"):
        mtl.losses.InBatchSoftmax(0)
