"""Groups of tasks against an enumeration of all groupings, and planted groups."""

import itertools

import numpy as np
import pytest

import tf_mtl as mtl


def groupings(items):
    """All partitions of a list."""
    if not items:
        yield []
        return
    first, *rest = items
    for size in range(len(rest) + 1):
        for others in itertools.combinations(rest, size):
            for remaining in groupings([item for item in rest if item not in others]):
                yield [(first, *others), *remaining]


def score(matrix, groups):
    return sum(
        np.mean([matrix[i, j] for i in members if i != j]) for members in groups for j in members if len(members) > 1
    )


def names(count):
    return [f"task{index}" for index in range(count)]


@pytest.mark.parametrize(
    ("count", "groups", "budget"), [(1, 1, None), (5, 2, None), (6, 3, None), (6, 6, 2), (7, 3, 3)]
)
def test_the_best_of_all_groupings_and_the_runner_up(count, groups, budget):
    matrix = np.random.default_rng(count).normal(size=(count, count))
    allowed = [
        each
        for each in groupings(list(range(count)))
        if len(each) <= groups and max(map(len, each)) <= (budget or count)
    ]
    ranked = sorted((score(matrix, each) for each in allowed), reverse=True)
    result = mtl.analysis.group(matrix, names(count), groups, budget)
    assert result.is_exact
    assert result.score == pytest.approx(ranked[0])
    indices = [[int(task.removeprefix("task")) for task in members] for members in result.groups]
    assert score(matrix, indices) == pytest.approx(ranked[0])
    assert sorted(itertools.chain(*indices)) == list(range(count))
    if len(ranked) > 1:
        assert result.runner_up_score == pytest.approx(ranked[1])


@pytest.mark.parametrize(("count", "groups", "seeds"), [(6, 2, 20), (12, 3, 1), (24, 3, 5)])
def test_planted_groups(count, groups, seeds):
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        block = rng.permutation(np.arange(count) % groups)
        matrix = np.where(block[:, None] == block, 1.0, -0.5) + 0.3 * rng.normal(size=(count, count))
        result = mtl.analysis.group(matrix, names(count), groups)
        assert {frozenset(members) for members in result.groups} == {
            frozenset(f"task{i}" for i in np.flatnonzero(block == k)) for k in range(groups)
        }


def test_spectral_groups_are_nearly_the_best(monkeypatch):
    for seed in range(5):
        matrix = np.random.default_rng(seed).normal(size=(8, 8))
        best = mtl.analysis.group(matrix, names(8), 3)
        with monkeypatch.context() as patch:
            patch.setattr("tf_mtl.analysis._grouping._EXACT", 3)
            found = mtl.analysis.group(matrix, names(8), 3, budget=4)
        assert not found.is_exact
        assert max(map(len, found.groups)) <= 4
        assert found.score <= best.score + 1e-9
        assert found.score > 0.6 * best.score
        assert "best found" in str(found)


def test_helpers_of_one_task():
    matrix = np.array([[0, 5, 0.3], [1, 0, -2], [2, 9, 0]])
    result = mtl.analysis.group(matrix, ["a", "b", "c"], 1, target="a")
    assert result.groups == (("a", "b", "c"),)
    assert result.score == 3
    assert mtl.analysis.group(matrix, ["a", "b", "c"], 1, budget=2, target="a").groups == (("a", "c"),)
    assert mtl.analysis.group(matrix, ["a", "b", "c"], 1, target="c").groups == (("a", "c"),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"matrix": np.ones((2, 3))}, r"`matrix` must be \[3, 3\].*received \(2, 3\)"),
        ({"matrix": np.full((3, 3), np.nan)}, r"must not hold NaN, received it for \['a', 'b'\]"),
        ({"groups": 1, "budget": 2}, "`groups`=1 of at most 2 tasks do not hold 3"),
        ({"groups": 0}, "`groups` must be"),
        ({"target": "d"}, "`target` names the unknown|'d'"),
    ],
)
def test_errors(changes, message):
    arguments = {"matrix": np.ones((3, 3)), "tasks": ["a", "b", "c"], "groups": 2, **changes}
    with pytest.raises(ValueError, match=message):
        mtl.analysis.group(**arguments)
