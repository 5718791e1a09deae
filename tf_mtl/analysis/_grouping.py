"""Which tasks to train together."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tf_mtl._arguments import integer
from tf_mtl._names import check_names
from tf_mtl.report import table

_EXACT = 12  # tasks, up to which all groupings are compared


@dataclass(frozen=True)
class Grouping:
    """Groups of tasks that are trained together; `print` shows them beside the runner-up.

    Attributes:
        groups: The tasks of each group, in the order of the tasks.
        score: The sum over tasks of how much the others of the group help.
        runner_up: The next best groups; none where no other are possible or known.
        runner_up_score: Their score; -infinity without any.
        is_exact: Whether all possible groups were compared.
    """

    groups: tuple[tuple[str, ...], ...]
    score: float
    runner_up: tuple[tuple[str, ...], ...]
    runner_up_score: float
    is_exact: bool

    def __str__(self) -> str:
        rows = [["best" if self.is_exact else "best found", _text(self.groups), self.score]]
        if self.runner_up:
            rows.append(["runner-up", _text(self.runner_up), self.runner_up_score])
        return table(["", "groups", "score"], rows, digits=4)


def group(
    matrix: np.ndarray, tasks: Sequence[str], groups: int, budget: int | None = None, target: str | None = None
) -> Grouping:
    r"""Return the groups of tasks that help each other most.

    The score of a group $G$ is $\sum_{j \in G} \operatorname{mean}_{i \in G, i \ne j} Z_{ij}$, where $Z_{ij}$ is how
    much task $i$ helps task $j$; that of a task alone is 0. Of up to 12 tasks, all groupings are compared. Of more,
    spectral clusters of the symmetric part of $Z$ are improved by moving one task at a time.

    A score says how good the groups are if the matrix is right. Affinities of gradients agree little with gains of
    trained models (Standley et al., ICML 2020; arXiv 2301.02873): prefer a matrix of gains where you can afford the
    runs, and look at how close the runner-up is.

    Args:
        matrix: $Z$, [T, T], such as the pairs' gains of `tf_mtl.analysis.gains`, or an affinity of
            `tf_mtl.callbacks.TaskAffinity`. The diagonal does not count.
        tasks: The tasks' names.
        groups: The largest number of groups.
        budget: The largest number of tasks in a group; None for all.
        target: A task for which helpers are chosen: those that help it, the `budget - 1` best ones. The result is its
            group alone.

    Raises:
        ValueError: for a matrix of another shape or with NaN beside the diagonal, unknown tasks, or numbers for which
            no grouping exists.

    References: Standley et al., "Which tasks should be learned together in multi-task learning?", ICML 2020; Fifty et
    al., "Efficiently identifying task groupings for multi-task learning", NeurIPS 2021.

    Example:

    >>> matrix = [[0, 3, -1], [2, 0, -1], [2, -4, 0]]
    >>> print(mtl.analysis.group(matrix, ["a", "b", "c"], groups=2))
    |           | groups     |  score |
    |-----------|------------|-------:|
    | best      | (a, b) (c) | 5.0000 |
    | runner-up | (a, c) (b) | 1.0000 |
    """
    values = np.array(matrix, "float64")
    count = len(tasks)
    if values.shape != (count, count):
        raise ValueError(f"`matrix` must be [{count}, {count}], for the tasks {list(tasks)}, received {values.shape}.")
    np.fill_diagonal(values, 0.0)
    if np.isnan(values).any():
        pair = [tasks[index] for index in np.argwhere(np.isnan(values))[0]]
        raise ValueError(
            f"`matrix` must not hold NaN, received it for {pair}. Train or measure this pair, too, or leave out a task."
        )
    largest = count if budget is None else integer("budget", budget, 1)
    if target is not None:
        return _helpers(values, tasks, largest, target)
    if integer("groups", groups, 1) * largest < count:
        raise ValueError(f"`groups`={groups} of at most {largest} tasks do not hold {count} tasks. Raise one of them.")
    find = _all_groupings if count <= _EXACT else _spectral
    ranked = find(values, groups, largest)
    named = [tuple(tuple(tasks[index] for index in members) for members in grouping) for _, grouping in ranked]
    scores = [score for score, _ in ranked]
    if len(ranked) == 1:
        named, scores = [*named, ()], [*scores, -float("inf")]
    return Grouping(named[0], scores[0], named[1], scores[1], count <= _EXACT)


def _helpers(values, tasks, largest, target):
    check_names("target", [target], tasks, required=False)
    column = values[:, list(tasks).index(target)]
    helpers = [index for index in np.argsort(-column, kind="stable") if column[index] > 0][: largest - 1]
    chosen = tuple(task for index, task in enumerate(tasks) if index in helpers or task == target)
    return Grouping((chosen,), float(column[helpers].sum()), (), -float("inf"), True)


def _score(values, members):
    """The score of one group, of which `members` are the indices."""
    if len(members) < 2:
        return 0.0
    return float(values[np.ix_(members, members)].sum() / (len(members) - 1))


def _all_groupings(values, groups, largest):
    """The two best of all groupings, by dynamic programming over sets of tasks, as bits."""
    count = len(values)
    everything = (1 << count) - 1
    members = [tuple(index for index in range(count) if tasks >> index & 1) for tasks in range(everything + 1)]
    scores = [_score(values, each) for each in members]
    best: list[list[tuple[float, tuple[int, ...]]]] = [[] for _ in members]
    best[0] = [(0.0, ())]
    for _ in range(groups):
        extended: list[list[tuple[float, tuple[int, ...]]]] = [[] for _ in members]
        extended[0] = [(0.0, ())]
        for tasks in range(1, everything + 1):
            lowest = tasks & -tasks
            rest = tasks ^ lowest
            candidates, others = [], rest
            while True:  # each subset of the rest, together with the lowest task
                chosen = others | lowest
                if len(members[chosen]) <= largest:
                    candidates += [(score + scores[chosen], (chosen, *sets)) for score, sets in best[tasks ^ chosen]]
                if not others:
                    break
                others = (others - 1) & rest
            extended[tasks] = sorted(candidates, key=lambda pair: -pair[0])[:2]
        best = extended
    return [(score, tuple(members[tasks] for tasks in sets)) for score, sets in best[everything]]


def _spectral(values, groups, largest):
    """The best grouping found from spectral clusters into each number of groups."""
    found = [_improved(values, clusters, groups, largest) for clusters in _clusters(values, groups)]
    ranked = sorted({grouping: score for score, grouping in found}.items(), key=lambda pair: -pair[1])
    return [(score, grouping) for grouping, score in ranked[:2]]


def _clusters(values: np.ndarray, groups: int) -> Iterable[list[int]]:
    """Yield a cluster for each task, for each number of clusters."""
    symmetric = values + values.T
    similarity = np.maximum(symmetric - symmetric.min(), 0)
    np.fill_diagonal(similarity, 0)
    degrees = np.sqrt(np.maximum(similarity.sum(1), 1e-12))
    _, vectors = np.linalg.eigh(similarity / np.outer(degrees, degrees))
    for number in range(1, groups + 1):
        rows = vectors[:, -number:]
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        centres = [0]
        while len(centres) < number:  # the row farthest from all centres
            centres.append(int(np.argmin((rows @ rows[centres].T).max(1))))
        points = rows[centres]
        for _ in range(100):
            clusters = np.argmax(rows @ points.T, 1)
            points = np.array(
                [rows[clusters == k].sum(0) if (clusters == k).any() else points[k] for k in range(number)]
            )
            points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
        yield clusters.tolist()


def _improved(values, clusters, groups, largest):
    """A grouping in which no move of a single task raises the score, and its score."""
    sets = [[index for index, cluster in enumerate(clusters) if cluster == k] for k in range(groups)]
    for crowded, roomy in itertools.product(sets, sets):
        while len(crowded) > largest and len(roomy) < largest and crowded is not roomy:
            roomy.append(crowded.pop())
    moved = True
    while moved:
        moved = False
        for source, end in itertools.permutations(range(groups), 2):
            for task in list(sets[source]):
                without, joined = [t for t in sets[source] if t != task], sorted([*sets[end], task])
                before = _score(values, sets[source]) + _score(values, sets[end])
                after = _score(values, without) + _score(values, joined)
                if len(joined) <= largest and after > before + 1e-12:
                    sets[source], sets[end], moved = without, joined, True
    grouping = tuple(sorted(tuple(sorted(each)) for each in sets if each))
    return sum(_score(values, each) for each in grouping), grouping


def _text(groups):
    return " ".join(f"({', '.join(each)})" for each in groups)
