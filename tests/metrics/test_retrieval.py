"""Recall@k and MRR against brute force: batches, weights, duplicates, the limit, ties."""

import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

ROWS, DIM = 60, 4


def pairs(rows=ROWS, noise=0.7):
    rng = np.random.default_rng(1)
    documents = rng.normal(size=(rows, DIM))
    vectors = np.stack([documents + noise * rng.normal(size=documents.shape), documents], 1)
    return (vectors / np.linalg.norm(vectors, axis=2, keepdims=True)).reshape(rows, 2 * DIM).astype("float32")


def brute_force(vectors, ids, weight, top):
    """Each document once, by its first row."""
    counted = np.flatnonzero(weight)
    vectors, ids, weight = vectors[counted], ids[counted], weight[counted]
    queries, documents = np.split(vectors.astype("float64"), 2, 1)
    _, first = np.unique(ids, return_index=True)
    ranks = []
    for row in range(len(ids)):
        scores = np.append(queries[row] @ documents[first[ids[first] != ids[row]]].T, queries[row] @ documents[row])
        ranks.append(1 + list(np.argsort(-scores)).index(len(scores) - 1))
    ranks = np.array(ranks)
    results = {f"recall@{k}": np.average(ranks <= k, weights=weight) for k in top}
    return results | {"mrr": np.average(1 / ranks, weights=weight)}


def results(metric, vectors, ids, weight=None, sizes=(7, 13, 20, 20), jit=False):
    update = tf.function(metric.update_state, jit_compile=jit, reduce_retracing=False)
    start = 0
    for size in sizes:
        rows = slice(start, start + size)
        update(
            tf.constant(ids[rows]), tf.constant(vectors[rows]), None if weight is None else tf.constant(weight[rows])
        )
        start += size
    return {name: float(value) for name, value in metric.result().items()}


IDS = {
    "unique": np.arange(ROWS),
    "large": 2**60 + np.arange(ROWS),
    "duplicates": np.random.default_rng(0).integers(0, 25, ROWS),
    "floats": np.random.default_rng(0).integers(0, 25, (ROWS, 1)).astype("float32"),
}


@pytest.mark.parametrize("kind", IDS)
def test_equals_brute_force(kind):
    vectors, ids = pairs(), IDS[kind]
    metric = mtl.metrics.Retrieval(DIM, [1, 5], limit=64)
    expected = brute_force(vectors, ids.reshape(-1), np.ones(ROWS), [1, 5])
    assert 0.1 < expected["recall@1"] < expected["recall@5"] < 1
    for _ in range(2):
        assert results(metric, vectors, ids) == pytest.approx(expected, abs=1e-6)
        metric.reset_state()


def test_a_constant_identifies_nothing():
    vectors = pairs()
    expected = brute_force(vectors, np.arange(ROWS), np.ones(ROWS), [1, 10])
    assert results(mtl.metrics.Retrieval(DIM, limit=64), vectors, np.full(ROWS, 3)) == pytest.approx(expected, abs=1e-6)


def test_weights_under_xla():
    vectors, ids, weight = pairs(), IDS["duplicates"], (np.arange(ROWS) % 3).astype("float32")
    metric = mtl.metrics.Retrieval(DIM, [2], limit=64)
    expected = brute_force(vectors, ids, weight, [2])
    vectors[weight == 0] = np.nan
    assert results(metric, vectors, ids, weight, sizes=(30, 30), jit=True) == pytest.approx(expected, abs=1e-6)


def test_first_rows_up_to_the_limit():
    vectors, ids = pairs(), IDS["duplicates"]
    expected = brute_force(vectors[:33], ids[:33], np.ones(33), [1])
    assert results(mtl.metrics.Retrieval(DIM, [1], limit=33), vectors, ids) == pytest.approx(expected, abs=1e-6)


def test_equal_vectors_and_nan_rank_last():
    equal = results(mtl.metrics.Retrieval(DIM, [1], limit=64), np.tile(pairs()[:1], (ROWS, 1)), np.arange(ROWS))
    assert equal == pytest.approx({"recall@1": 0, "mrr": 1 / ROWS})
    vectors = pairs()
    vectors[5] = np.nan
    assert results(mtl.metrics.Retrieval(DIM, [1], limit=64), vectors, np.arange(ROWS))["recall@1"] == 0


def test_nothing_seen_and_config():
    metric = mtl.metrics.Retrieval(DIM, [3], limit=8)
    assert {name: float(value) for name, value in metric.result().items()} == {"recall@3": 0, "mrr": 0}
    restored = mtl.metrics.Retrieval.from_config(metric.get_config())
    assert restored.result_names == ["recall@3", "mrr"]
    assert restored.get_config() == metric.get_config()
    with pytest.raises(ValueError, match="`limit` must be an integer, at least 1"):
        mtl.metrics.Retrieval(DIM, limit=0)
