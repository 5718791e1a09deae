"""Rows in common, random subsets, and affinities averaged over them."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl


def data():
    rng = np.random.default_rng(0)
    weights = {"a": rng.integers(0, 2, 50), "b": rng.integers(0, 2, (50, 4)), "d": np.zeros(50)}
    y = {"a": np.zeros(50), "b": np.zeros((50, 4)), "c": np.zeros(50), "d": np.zeros(50)}
    return np.zeros((50, 2)), y, weights


def test_rows_in_common_are_counted():
    x, y, weights = data()
    labelled = [weights["a"] > 0, weights["b"].any(1), np.ones(50, bool), np.zeros(50, bool)]
    for given in ((x, y, weights), tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(7)):
        result = mtl.analysis.overlap(given)
        assert result.tasks == ("a", "b", "c", "d")
        assert result.rows == 50
        for (i, one), (j, other) in itertools.product(enumerate(labelled), repeat=2):
            assert result.counts[i, j] == (one & other).sum()
            if (one | other).any():
                assert result.shares[i, j] == (one & other).sum() / (one | other).sum()
        assert np.isnan(result.shares[3, 3])
    assert "50 rows." in str(result)
    assert mtl.analysis.overlap((x, y)).shares.min() == 1


def test_data_that_do_not_fit():
    with pytest.raises(ValueError, match="must end"):
        mtl.analysis.overlap(tf.data.Dataset.from_tensors(data()).repeat())
    with pytest.raises(ValueError, match="must give .x, .task: y"):
        mtl.analysis.overlap((np.zeros(3), np.zeros(3)))
    with pytest.raises(ValueError, match="at least one row"):
        mtl.analysis.overlap(tf.data.Dataset.from_tensors(data()).take(0))


def test_ragged_labels_and_misspelt_weights():
    ragged = tf.ragged.constant([[1.0, 0.0], [0.0], [0.0, 2.0, 1.0]])
    result = mtl.analysis.overlap((np.zeros(3), {"a": ragged, "b": np.zeros(3)}, {"a": ragged}))
    assert result.counts.tolist() == [[2, 2], [2, 3]]
    with pytest.raises(ValueError, match="received 'bb'"):
        mtl.analysis.overlap((np.zeros(3), {"b": np.zeros(3)}, {"bb": np.zeros(3)}))


def test_subsets_are_different_and_balanced():
    tasks = [f"t{i}" for i in range(10)]
    drawn = mtl.analysis.subsets(tasks, n=30, size=4, seed=3)
    assert len(set(drawn)) == 30
    assert drawn == mtl.analysis.subsets(tasks, n=30, size=4, seed=3)
    assert drawn != mtl.analysis.subsets(tasks, n=30, size=4, seed=4)
    counts = {pair: sum(set(pair) <= set(each) for each in drawn) for pair in itertools.combinations(tasks, 2)}
    assert max(counts.values()) - min(counts.values()) <= 2  # 4 on average
    assert len(mtl.analysis.subsets(tasks[:4], n=6, size=2)) == 6
    with pytest.raises(ValueError, match="at most 6"):
        mtl.analysis.subsets(tasks[:4], n=7, size=2)
    with pytest.raises(ValueError, match="`size` must be at most 4"):
        mtl.analysis.subsets(tasks[:4], n=1, size=5)


def test_averages_over_subsets_recover_planted_blocks():
    tasks, block = [f"t{i}" for i in range(9)], np.arange(9) % 3
    rng = np.random.default_rng(0)
    results = {}
    for subset in mtl.analysis.subsets(tasks, n=60, size=4):
        members = [tasks.index(task) for task in subset]
        results[subset] = {tasks[j]: sum(block[i] == block[j] for i in members) + 0.3 * rng.normal() for j in members}
    matrix = mtl.analysis.higher_order_affinity(results, tasks)
    gains = matrix - np.diag(matrix)
    found = mtl.analysis.group(gains, tasks, groups=3)
    assert {frozenset(members) for members in found.groups} == {
        frozenset(tasks[i] for i in np.flatnonzero(block == k)) for k in range(3)
    }
