"""The CRF against an enumeration of all paths."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.layers import CRF

TAGS = 3


@pytest.fixture(scope="module")
def layer():
    rng = np.random.default_rng(1)
    crf = CRF()
    crf.build((None, 5, TAGS))
    for weight in crf.weights:
        weight.assign(rng.normal(size=weight.shape))
    return crf


def score(layer, emissions, path):
    transitions, start, end = (weight.numpy() for weight in layer.weights)
    total = start[path[0]] + end[path[-1]] + sum(emissions[t, tag] for t, tag in enumerate(path))
    return total + sum(transitions[i, j] for i, j in itertools.pairwise(path))


def paths(length):
    return list(itertools.product(range(TAGS), repeat=length))


MASKS = {
    "full": [1, 1, 1, 1],
    "padded": [1, 1, 1, 0],
    "with holes": [0, 1, 0, 1],
    "one word": [0, 0, 1, 0],
    "empty": [0, 0, 0, 0],
}


def rows():
    rng = np.random.default_rng(0)
    emissions = rng.normal(size=(len(MASKS), 4, TAGS)).astype("float32")
    return emissions, rng.integers(0, TAGS, (len(MASKS), 4)), np.array(list(MASKS.values()), "float32")


@pytest.mark.parametrize("compiled", [False, True])
def test_likelihood(layer, compiled):
    emissions, tags, weight = rows()

    def loss(emissions):
        return CRF.negative_log_likelihood(layer(emissions), tags, weight)

    actual = (tf.function(loss) if compiled else loss)(tf.constant(emissions)).numpy()
    for row, value in enumerate(actual):
        valid = weight[row] > 0
        if not valid.any():
            assert value == 0
            continue
        scores = [score(layer, emissions[row, valid], path) for path in paths(valid.sum())]
        expected = np.log(np.exp(scores).sum()) - score(layer, emissions[row, valid], tags[row, valid])
        assert value == pytest.approx(expected, abs=1e-5)


def test_gradients_are_differences_of_counts(layer):
    """d(-log p)/dT[i, j] is the expected number of moves from i to j minus the number in the labels."""
    emissions, tags, weight = rows()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(CRF.negative_log_likelihood(layer(emissions), tags, weight))
    actual = tape.gradient(loss, [v.value for v in layer.weights])[0].numpy()
    expected = np.zeros((TAGS, TAGS))
    for row in range(len(emissions)):
        valid = weight[row] > 0
        if not valid.any():
            continue
        scores = np.array([score(layer, emissions[row, valid], path) for path in paths(valid.sum())])
        probabilities = np.exp(scores - np.log(np.exp(scores).sum()))
        for path, p in zip(paths(valid.sum()), probabilities, strict=True):
            for i, j in itertools.pairwise(path):
                expected[i, j] += p
        for i, j in itertools.pairwise(tags[row, valid]):
            expected[i, j] -= 1
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_viterbi(layer, constrained, compiled):
    emissions, _, mask = rows()
    allowed = np.array([[1, 1, 0], [1, 1, 1], [1, 0, 1]], bool) if constrained else None
    first = np.array([1, 1, 0], bool) if constrained else None

    def decode(emissions):
        return CRF.viterbi(layer(emissions), mask > 0, allowed, first)

    actual = (tf.function(decode) if compiled else decode)(tf.constant(emissions)).numpy()
    assert actual.shape == mask.shape
    for row, path in enumerate(actual):
        valid = mask[row] > 0
        assert (path[~valid] == 0).all()
        if not valid.any():
            continue
        legal = [
            candidate
            for candidate in paths(valid.sum())
            if not constrained or (first[candidate[0]] and all(allowed[i, j] for i, j in itertools.pairwise(candidate)))
        ]
        assert tuple(path[valid]) == max(legal, key=lambda candidate: score(layer, emissions[row, valid], candidate))


def test_one_position_and_no_rows(layer):
    emissions = np.random.default_rng(3).normal(size=(2, 1, TAGS)).astype("float32")
    output, weight = layer(emissions), np.ones((2, 1))
    scores = [[score(layer, row, path) for path in paths(1)] for row in emissions]
    actual = CRF.negative_log_likelihood(output, np.array([[2], [0]]), weight)
    expected = [np.log(np.exp(row).sum()) - row[tag] for row, tag in zip(scores, (2, 0), strict=True)]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    assert CRF.viterbi(output, weight > 0).numpy()[:, 0].tolist() == np.argmax(scores, 1).tolist()
    none = layer(emissions[:0])
    assert CRF.viterbi(none, weight[:0] > 0).shape == (0, 1)
    assert CRF.negative_log_likelihood(none, np.zeros((0, 1)), weight[:0]).shape == (0,)


def test_float32_under_mixed_precision_and_saving(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        x = keras.Input((4, 6))
        model = keras.Model(x, CRF()(keras.layers.Dense(TAGS)(x)))
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.output.dtype == "float32"
    model.layers[-1].transitions.assign(np.arange(9).reshape(3, 3))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    rows = np.random.default_rng(0).normal(size=(2, 4, 6))
    np.testing.assert_array_equal(model(rows), loaded(rows))


def test_marginals(layer):
    emissions, _, weight = rows()
    actual = tf.function(CRF.marginals)(layer(emissions), weight > 0).numpy()
    for row, mask in enumerate(weight > 0):
        positions = np.flatnonzero(mask)
        expected = np.zeros((4, TAGS))
        if len(positions):
            scores = np.array([score(layer, emissions[row, positions], path) for path in paths(len(positions))])
            probabilities = np.exp(scores) / np.exp(scores).sum()
            for path, probability in zip(paths(len(positions)), probabilities, strict=True):
                expected[positions, path] += probability
        np.testing.assert_allclose(actual[row], expected, atol=1e-5)
