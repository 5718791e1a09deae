"""Loss weights to try."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from tf_mtl._arguments import in_range, integer
from tf_mtl.analysis._affinity import Affinity


def weight_grid(tasks: Sequence[str], steps: int) -> list[dict[str, float]]:
    r"""Return an even grid of weights with the mean 1, none of them 0.

    Each task gets 1, 2, ... of `steps` equal parts of the sum: $\binom{steps - 1}{T - 1}$ combinations.

    Args:
        tasks: The tasks' names.
        steps: The number of parts, at least the number of tasks.

    Raises:
        ValueError: for fewer parts than tasks.

    Example:

    >>> mtl.analysis.weight_grid(["a", "b"], steps=4)
    [{'a': 0.5, 'b': 1.5}, {'a': 1.0, 'b': 1.0}, {'a': 1.5, 'b': 0.5}]
    """
    steps = integer("steps", steps, len(tasks))
    combinations = (np.diff([0, *cuts, steps]) for cuts in itertools.combinations(range(1, steps), len(tasks) - 1))
    return [_by_task(tasks, parts * len(tasks) / steps) for parts in combinations]


def random_weights(tasks: Sequence[str], n: int, spread: float = 1.0, seed: int = 0) -> list[dict[str, float]]:
    r"""Return random weights with the mean 1: in proportion to $e^{z_t}$, $z_t \sim N(0, spread^2)$.

    The first are equal weights, to compare with.

    Args:
        tasks: The tasks' names.
        n: The number of candidates.
        spread: The standard deviation of the weights' logarithms.
        seed: Seed of the draws.

    Raises:
        ValueError: for a number or a spread that is not positive.

    Example:

    >>> candidates = mtl.analysis.random_weights(["a", "b"], n=3)
    >>> candidates[0], round(sum(candidates[1].values()), 6)
    ({'a': 1.0, 'b': 1.0}, 2.0)
    """
    spread = in_range("spread", spread, 0, open_low=True)
    logarithms = np.random.default_rng(seed).normal(scale=spread, size=(integer("n", n, 1), len(tasks)))
    logarithms[0] = 0
    weights = np.exp(logarithms)
    return [_by_task(tasks, row) for row in weights / weights.mean(1, keepdims=True)]


def suggested_weights(affinity: Affinity) -> dict[str, float]:
    r"""Return fixed weights under which the tasks' gradients are equally long: $w_t \propto 1 / \|g_t\|$, of mean 1.

    They rest on the mean gradient norms of some batches: pass the result of `tf_mtl.callbacks.TaskAffinity` after a
    short training with equal weights. AutoScale finds that weights which do well in an exhaustive search make the
    gradients' magnitudes similar. The weights are a candidate for `tf_mtl.analysis.weights`, not its result.

    Args:
        affinity: What `affinity` or the callback returned.

    Raises:
        ValueError: if a task has no gradient of shared variables.

    Reference: Yang et al., "AutoScale: linear scalarization guided by multi-task optimization metrics", 2025
    (arXiv 2508.13979).

    Example:

    >>> tasks = [mtl.tasks.Regression(name) for name in ("a", "b")]
    >>> model = mtl.build_model(keras.Input((4,)), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8])), tasks)
    >>> model.compile(keras.optimizers.SGD(0.1))
    >>> x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
    >>> result = mtl.analysis.affinity(model, [(x, {"a": x[:, 0], "b": 10 * x[:, 0]})])
    >>> weights = mtl.analysis.suggested_weights(result)
    >>> weights["a"] > weights["b"]
    True
    """
    without = [task for task, norm in affinity.norms.items() if not norm > 0 or not math.isfinite(norm)]
    if without:
        raise ValueError(f"`affinity` must have measured a gradient of each task, but has none of {without}.")
    inverse = 1 / np.array(list(affinity.norms.values()))
    return _by_task(affinity.tasks, inverse / inverse.mean())


def _by_task(tasks: Sequence[str], weights: np.ndarray) -> dict[str, float]:
    return dict(zip(tasks, weights.tolist(), strict=True))
