"""Random subsets of tasks, and what training on them says about each pair."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from tf_mtl._arguments import integer

_CANDIDATES = 64


def subsets(tasks: Sequence[str], n: int, size: int, seed: int = 0) -> list[tuple[str, ...]]:
    """Return random subsets of tasks, in which tasks and pairs occur about equally often.

    Each subset is the one of some random candidates whose pairs have occurred least.

    Args:
        tasks: The tasks' names.
        n: The number of subsets, all different.
        size: The number of tasks of each.
        seed: Seed of the draws.

    Raises:
        ValueError: for a size that the tasks do not allow, or more subsets than exist.

    Example:

    >>> mtl.analysis.subsets(["a", "b", "c", "d"], n=3, size=2)
    [('a', 'b'), ('c', 'd'), ('a', 'c')]
    """
    size, n = integer("size", size, 1), integer("n", n, 1)
    if size > len(tasks):
        raise ValueError(f"`size` must be at most {len(tasks)}, the number of tasks, received {size}.")
    possible = math.comb(len(tasks), size)
    if n > possible:
        raise ValueError(f"`n` must be at most {possible}, the number of subsets of {size} tasks, received {n}.")
    rng, seen = np.random.default_rng(seed), np.zeros((len(tasks), len(tasks)))
    chosen: list[tuple[int, ...]] = []
    while len(chosen) < n:
        draws = {tuple(sorted(rng.choice(len(tasks), size, replace=False).tolist())) for _ in range(_CANDIDATES)}
        new = sorted(draws.difference(chosen))
        if new:
            chosen.append(min(new, key=lambda each: seen[np.ix_(each, each)].sum()))
            seen[np.ix_(chosen[-1], chosen[-1])] += 1
    return [tuple(tasks[index] for index in each) for each in chosen]


def higher_order_affinity(results: Mapping[tuple[str, ...], Mapping[str, float]], tasks: Sequence[str]) -> np.ndarray:
    r"""Return how well each task does, on average, in subsets with each other task, [T, T].

    $$Z_{ij} = \operatorname{mean}_{S \ni i, j} f_j(S)$$

    where $f_j(S)$ is the result of task $j$ of the model trained on the subset $S$. On the diagonal is the mean over
    all subsets with the task. Subtract the single-task results from those of each task to get gains that
    `tf_mtl.analysis.group` takes.

    Args:
        results: For each subset, the result of each of its tasks; higher is better.
        tasks: The tasks' names.

    Returns:
        The affinity of task i (row) onto task j (column); NaN for pairs that are in no subset.

    Reference: Li, Nguyen & Zhang, "Identification of negative transfers in multitask learning using surrogate models",
    TMLR 2023.

    Example:

    >>> results = {("a", "b"): {"a": 0.8, "b": 0.6}, ("a", "c"): {"a": 0.6, "c": 0.9}}
    >>> mtl.analysis.higher_order_affinity(results, ["a", "b", "c"]).round(2)
    array([[0.7, 0.6, 0.9],
           [0.8, 0.6, nan],
           [0.6, nan, 0.9]])
    """
    sums, counts = np.zeros((len(tasks), len(tasks))), np.zeros((len(tasks), len(tasks)))
    index = {task: position for position, task in enumerate(tasks)}
    for subset, of_tasks in results.items():
        for one, other in itertools.product(subset, repeat=2):
            sums[index[one], index[other]] += of_tasks[other]
            counts[index[one], index[other]] += 1
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
