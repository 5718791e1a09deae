"""Search over loss weights, or over the tasks' importance."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tf_mtl._arguments import integer
from tf_mtl._model import MultiTaskModel
from tf_mtl._names import check_names
from tf_mtl.analysis._runs import Data, Run, check_metric, finish, seed_numbers
from tf_mtl.analysis._weight_search import Trial, WeightSearch, checked_lower


def weights(
    build: Callable[[dict[str, float]], MultiTaskModel],
    data: Data,
    candidates: Iterable[Mapping[str, float]],
    metrics: Mapping[str, str],
    seeds: int | Sequence[int] = 1,
    epochs: int = 1,
    folder: str | Path | None = None,
    part: tuple[int, int] = (0, 1),
    lower_is_better: Sequence[str] | None = None,
    verbose: int = 1,
) -> WeightSearch:
    """Train a model for each of several weightings of the tasks, and return the trade-offs between their results.

    What a weight means is up to `build`: `compile(loss_weights=weights)`, or the importance of the tasks for a method,
    such as `balancing=mtl.balancing.NashMTL(preference=weights)`. All models get the same batches and seeds. Use
    validation data: the best of many results on test data is no longer a result on test data.

    Args:
        build: From `{task: weight}` to a compiled model.
        data: Batches to train and to evaluate on, (x, {task: y}) or (x, {task: y}, {task: weight}) with the labels of
            all tasks.
        candidates: The weights to try, `{task: weight}` each: of `weight_grid` or `random_weights`, or your own. Those
            that occur twice are tried once.
        metrics: `{task: metric}`, the result of each task that counts, such as "auc".
        seeds: The seeds, or their number n for 0 to n - 1; results are the means over them.
        epochs: The epochs of each model.
        folder: Where results are kept, as in `gains`.
        part: (k, n) for the k-th of n processes that work on the same folder, as in `gains`.
        lower_is_better: The tasks for whose metric lower is better; by default, the metrics' names determine this, as
            in `tf_mtl.report.compare`.
        verbose: 1 prints the number of models beforehand and a progress bar; 0 prints nothing.

    Returns:
        The `WeightSearch`.

    Raises:
        ValueError: for no candidate, candidates without a weight for each task, unknown metrics, or if `part` leaves
            models to other processes that have not finished.

    Example:

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(64, 4)).astype("float32")
    >>> rows = tf.data.Dataset.from_tensor_slices((x, {"a": x[:, 0], "b": x[:, 1]})).batch(16)
    >>> def build(weights):
    ...     trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    ...     model = mtl.build_model(keras.Input((4,)), trunk, [mtl.tasks.Regression(task) for task in ("a", "b")])
    ...     model.compile(keras.optimizers.SGD(0.1), loss_weights=weights)
    ...     return model
    >>> grid = mtl.analysis.weight_grid(["a", "b"], steps=3)
    >>> search = mtl.analysis.weights(build, (rows, rows), grid, {"a": "rmse", "b": "rmse"}, verbose=0)
    >>> len(search.trials), len(search.pareto) > 0
    (2, True)
    """
    tasks, tried = tuple(metrics), []
    for candidate in candidates:
        check_names("candidates", candidate, tasks)
        weights_of = {task: float(candidate[task]) for task in tasks}
        if weights_of not in tried:
            tried.append(weights_of)
    if not tried:
        raise ValueError("`candidates` must hold at least one dict {task: weight}, received none.")
    lower = checked_lower(lower_is_better, metrics)
    numbers, epochs = seed_numbers(seeds), integer("epochs", epochs, 1)
    runs = {
        Run(",".join(f"{task}={weight!r}" for task, weight in each.items()), tasks, seed, epochs): each
        for each in tried
        for seed in numbers
    }

    def check(results):
        for task, metric in metrics.items():
            check_metric(f"metrics['{task}']", metric, results[task])

    finished = finish(list(runs), lambda run: build(dict(runs[run])), data, folder, part, verbose, "weights", check)
    trials = []
    for each in tried:
        of_seeds = [finished[run].results for run, candidate in runs.items() if candidate == each]
        means = {task: float(np.mean([r[task][metric] for r in of_seeds])) for task, metric in metrics.items()}
        trials.append(Trial(each, means))
    return WeightSearch(tuple(trials), dict(metrics), lower)
