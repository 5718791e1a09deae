"""The CRF against the enumeration of all paths."""

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
    found = CRF()
    found.build((None, 5, TAGS))
    for weight in found.weights:
        weight.assign(rng.normal(size=weight.shape))
    return found


def score(layer, emissions, path):
    transitions, start, end = (weight.numpy() for weight in layer.weights)
    total = start[path[0]] + end[path[-1]] + sum(emissions[t, tag] for t, tag in enumerate(path))
    return total + sum(transitions[one, other] for one, other in itertools.pairwise(path))


def paths(length):
    return list(itertools.product(range(TAGS), repeat=length))


MASKS = {
    "whole": [1, 1, 1, 1],
    "cut": [1, 1, 1, 0],
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

    found = (tf.function(loss) if compiled else loss)(tf.constant(emissions)).numpy()
    for row, value in enumerate(found):
        kept = weight[row] > 0
        if not kept.any():
            assert value == 0
            continue
        every = [score(layer, emissions[row, kept], path) for path in paths(kept.sum())]
        right = np.log(np.exp(every).sum()) - score(layer, emissions[row, kept], tags[row, kept])
        assert value == pytest.approx(right, abs=1e-5)


def test_gradients_are_differences_of_counts(layer):
    """d(-log p)/dT[i, j] is the expected number of moves from i to j less the number in the labels."""
    emissions, tags, weight = rows()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(CRF.negative_log_likelihood(layer(emissions), tags, weight))
    found = tape.gradient(loss, [v.value for v in layer.weights])[0].numpy()
    right = np.zeros((TAGS, TAGS))
    for row in range(len(emissions)):
        kept = weight[row] > 0
        if not kept.any():
            continue
        every = np.array([score(layer, emissions[row, kept], path) for path in paths(kept.sum())])
        share = np.exp(every - np.log(np.exp(every).sum()))
        for path, p in zip(paths(kept.sum()), share, strict=True):
            for one, other in itertools.pairwise(path):
                right[one, other] += p
        for one, other in itertools.pairwise(tags[row, kept]):
            right[one, other] -= 1
    np.testing.assert_allclose(found, right, atol=1e-5)


@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_viterbi(layer, constrained, compiled):
    emissions, _, mask = rows()
    allowed = np.array([[1, 1, 0], [1, 1, 1], [1, 0, 1]], bool) if constrained else None
    first = np.array([1, 1, 0], bool) if constrained else None

    def decode(emissions):
        return CRF.viterbi(layer(emissions), mask > 0, allowed, first)

    found = (tf.function(decode) if compiled else decode)(tf.constant(emissions)).numpy()
    assert found.shape == mask.shape
    for row, path in enumerate(found):
        kept = mask[row] > 0
        assert (path[~kept] == 0).all()
        if not kept.any():
            continue
        legal = [
            candidate
            for candidate in paths(kept.sum())
            if not constrained or (first[candidate[0]] and all(allowed[i, j] for i, j in itertools.pairwise(candidate)))
        ]
        assert tuple(path[kept]) == max(legal, key=lambda candidate: score(layer, emissions[row, kept], candidate))


def test_one_position_and_no_rows(layer):
    emissions = np.random.default_rng(3).normal(size=(2, 1, TAGS)).astype("float32")
    output, there = layer(emissions), np.ones((2, 1))
    every = [[score(layer, row, path) for path in paths(1)] for row in emissions]
    found = CRF.negative_log_likelihood(output, np.array([[2], [0]]), there)
    right = [np.log(np.exp(row).sum()) - row[tag] for row, tag in zip(every, (2, 0), strict=True)]
    np.testing.assert_allclose(found, right, rtol=1e-5)
    assert CRF.viterbi(output, there > 0).numpy()[:, 0].tolist() == np.argmax(every, 1).tolist()
    none = layer(emissions[:0])
    assert CRF.viterbi(none, there[:0] > 0).shape == (0, 1)
    assert CRF.negative_log_likelihood(none, np.zeros((0, 1)), there[:0]).shape == (0,)


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
    again = keras.models.load_model(tmp_path / "model.keras")
    rows = np.random.default_rng(0).normal(size=(2, 4, 6))
    np.testing.assert_array_equal(model(rows), again(rows))


def test_marginals(layer):
    emissions, _, weight = rows()
    found = tf.function(CRF.marginals)(layer(emissions), weight > 0).numpy()
    for row, mask in enumerate(weight > 0):
        places = np.flatnonzero(mask)
        expected = np.zeros((4, TAGS))
        if len(places):
            scores = np.array([score(layer, emissions[row, places], path) for path in paths(len(places))])
            chances = np.exp(scores) / np.exp(scores).sum()
            for path, chance in zip(paths(len(places)), chances, strict=True):
                expected[places, path] += chance
        np.testing.assert_allclose(found[row], expected, atol=1e-5)
