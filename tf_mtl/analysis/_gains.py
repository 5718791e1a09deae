"""What tasks gain from being trained together."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl._model import MultiTaskModel
from tf_mtl._names import check_names
from tf_mtl.analysis._gaps import Gap, at_equal_training_loss
from tf_mtl.analysis._intervals import Interval, interval
from tf_mtl.analysis._runs import Finished, Results, Run, check_metric, finish, seed_numbers
from tf_mtl.report import Comparison, compare, table


class Gain(NamedTuple):
    """The relative gain of a metric, over seeds.

    Attributes:
        task: The task.
        metric: The metric.
        multi_task: The mean result of the models of several tasks.
        single_task: The mean result of the single-task models.
        gain: The mean gain with its 95% confidence interval.
    """

    task: str
    metric: str
    multi_task: float
    single_task: float
    gain: Interval

    @property
    def verdict(self) -> str:
        """What the interval says: "gain", "negative transfer", "no difference", or "one seed"."""
        return self.gain.verdict


@dataclass(frozen=True)
class Gains:
    """The results of models of several tasks beside single-task models; `print` shows the gains in each subset.

    Attributes:
        tasks: The tasks' names.
        seeds: The seeds.
        subsets: The subsets of two tasks or more that models were trained on.
        results: The results of all models, `{(tasks, seed): {task: {metric: value}}}`.
        lower_is_better: The metrics for which lower is better; None to go by their names, as `report.compare` does.
        losses: The losses of all models, `{(tasks, seed): {task: [[train, test], ...]}}`, before training and after
            each epoch, if `gains` was called with `gaps=True`.
    """

    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    subsets: tuple[tuple[str, ...], ...]
    results: Mapping[tuple[tuple[str, ...], int], Results]
    lower_is_better: tuple[str, ...] | None = None
    losses: Mapping[tuple[tuple[str, ...], int], Mapping[str, Sequence[Sequence[float]]]] = field(default_factory=dict)

    def of(self, tasks: Sequence[str] | None = None) -> list[Gain]:
        """Return the gain of each metric in the models of some tasks.

        Metrics that are 0 in a single-task model are left out, since gains are relative.

        Args:
            tasks: One of `subsets`; by default the largest, the first of several.
        """
        comparisons = self._comparisons(tasks)
        return [
            Gain(
                rows[0].task,
                rows[0].metric,
                float(np.mean([row.multi_task for row in rows])),
                float(np.mean([row.single_task for row in rows])),
                interval([row.gain for row in rows]),
            )
            for rows in zip(*(comparison.rows for comparison in comparisons), strict=True)
        ]

    def gain_per_task(self, tasks: Sequence[str] | None = None) -> Interval:
        """Return delta-m as in LibMTL, with its interval: the mean over tasks of their metrics' mean gains."""
        return interval([comparison.gain_per_task for comparison in self._comparisons(tasks)])

    def drop_per_metric(self, tasks: Sequence[str] | None = None) -> Interval:
        """Return delta-m as in Nash-MTL, with its interval: the mean drop over all metrics; positive is worse."""
        return interval([comparison.drop_per_metric for comparison in self._comparisons(tasks)])

    def gaps(self, tasks: Sequence[str] | None = None) -> list[Gap]:
        """Return the test loss of each task at the same training loss, in the models of some tasks and of each alone.

        A model of several tasks may have a better result since it generalises better, or since it fits the training
        data better. At the lowest training loss that both models reach, only the former makes a difference. Between
        epochs, losses are interpolated.

        Args:
            tasks: One of `subsets`; by default the largest, the first of several.

        Raises:
            ValueError: if losses were not measured: call `gains` with `gaps=True`.
        """
        if not self.losses:
            raise ValueError("`gaps` needs the losses after each epoch. Call `gains` with `gaps=True`.")
        subset, gaps = self._subset(tasks), []
        for task in subset:
            of_seeds = [
                at_equal_training_loss(self.losses[subset, seed][task], self.losses[(task,), seed][task])
                for seed in self.seeds
            ]
            level, together, alone = np.array(of_seeds).T
            means = [float(values.mean()) for values in (level, together, alone)]
            gaps.append(Gap(task, means[0], means[1], means[2], interval((together - alone).tolist())))
        return gaps

    def matrix(self, metrics: Mapping[str, str] | None = None) -> np.ndarray:
        """Return the mean gain of task j (column) when it is trained with task i alone, [T, T], as `group` takes it.

        It is 0 on the diagonal, and NaN for pairs that no model was trained on.

        Args:
            metrics: `{task: metric}`, the metric whose gain counts; by default the first of each task. Choose metrics
                that are not near 0 in single-task models, since gains are relative.

        Raises:
            ValueError: for unknown tasks, and metrics that are unknown or 0 in a single-task model.
        """
        check_names("metrics", metrics or {}, self.tasks, required=False)
        matrix = np.full((len(self.tasks), len(self.tasks)), np.nan)
        np.fill_diagonal(matrix, 0)
        for pair in self.subsets:
            if len(pair) == 2:
                for helper, task in (pair, pair[::-1]):
                    gains = {gain.metric: gain.gain.mean for gain in self.of(pair) if gain.task == task}
                    metric = (metrics or {}).get(task, next(iter(gains), "any"))
                    check_metric(f"metrics['{task}']", metric, gains)
                    matrix[self.tasks.index(helper), self.tasks.index(task)] = gains[metric]
        return matrix

    def __str__(self) -> str:
        return "\n\n".join(map(self._text_of, self.subsets))

    def _text_of(self, tasks: tuple[str, ...]) -> str:
        rows = [[g.task, g.metric, g.multi_task, g.single_task, str(g.gain), g.verdict] for g in self.of(tasks)]
        header = ["task", "metric", "multi-task", "single-task", "gain, 95% interval", ""]
        per_task, drop = self.gain_per_task(tasks), self.drop_per_metric(tasks)
        return (
            f"{', '.join(tasks)}; {len(self.seeds)} seeds:\n\n{table(header, rows, digits=4)}\n"
            f"\ndelta-m, mean over tasks, as a gain (positive is better): {per_task}, {per_task.verdict}"
            f"\ndelta-m, mean over metrics, as a drop (positive is worse): {drop}"
        )

    def _subset(self, tasks):
        subset = _ordered(tasks or max(self.subsets, key=len), self.tasks)
        if subset not in self.subsets:
            raise ValueError(f"`tasks` must be one of the subsets {list(self.subsets)}, received {subset}.")
        return subset

    def _comparisons(self, tasks: Sequence[str] | None) -> list[Comparison]:
        """The comparison of each seed."""
        subset = self._subset(tasks)
        together = [self.results[subset, seed] for seed in self.seeds]
        alone = [{task: self.results[(task,), seed][task] for task in subset} for seed in self.seeds]
        defined = {task: [m for m in alone[0][task] if all(each[task][m] for each in alone)] for task in subset}
        comparisons = []
        for pair in zip(together, alone, strict=True):
            results = [{task: {m: part[task][m] for m in defined[task]} for task in subset} for part in pair]
            comparisons.append(compare(results[0], results[1], self.lower_is_better))
        return comparisons


def gains(
    build: Callable[[tuple[str, ...]], MultiTaskModel],
    data: tuple[tf.data.Dataset, tf.data.Dataset],
    seeds: int | Sequence[int],
    tasks: Sequence[str],
    subsets: Iterable[Sequence[str]] | None = None,
    epochs: int = 1,
    folder: str | Path | None = None,
    part: tuple[int, int] = (0, 1),
    lower_is_better: Sequence[str] | None = None,
    gaps: bool = False,
    verbose: int = 1,
) -> Gains:
    r"""Train models of several tasks and of each task alone, and return what the tasks gain from each other.

    All models get the same rows, with the labels of their own tasks, and so as many updates. A data set that shuffles
    its rows again in each pass gives each model another order: for the same batches in the same order, shuffle with
    `reshuffle_each_iteration=False`, or pass a `tf_mtl.data.Mixture`. Models of the same seed are compared: a gain is
    $\pm(M - B)/|B|$ with the result $M$ of the model of several tasks, that of the single-task model $B$, and the sign
    that makes better positive. Its interval, over seeds, is Student's. There is "negative transfer" only where it lies
    below 0, and "no difference" where it contains 0. Intervals of few seeds are wide, and those of many metrics are not
    corrected for their number.

    Args:
        build: From the names of tasks to a compiled model of them, with the same encoder each time.
        data: Batches to train and to test on, (x, {task: y}) or (x, {task: y}, {task: weight}) with the labels of all
            tasks; both must end. The first may be a `tf_mtl.data.Mixture` of batches, unless `gaps` is set.
        seeds: The seeds, or their number n for 0 to n - 1. `keras.utils.set_random_seed` gets each.
        tasks: The tasks' names.
        subsets: The subsets of tasks to train on; by default all tasks together. `itertools.combinations(tasks, 2)`
            gives all pairs. Each task alone is always trained.
        epochs: The epochs of each model.
        folder: Where results are kept, a file for each model: models that have finished are not trained again. Use
            another folder after changing the code or the data.
        part: (k, n) for the k-th of n processes that work on the same folder: each trains its share of the models. The
            result needs all: call `gains` again when all have finished.
        lower_is_better: See `tf_mtl.report.compare`.
        gaps: Whether to measure the losses on the training and the test data after each epoch, for `Gains.gaps`.
        verbose: 1 prints the number of models beforehand and a progress bar; 0 prints nothing.

    Returns:
        The `Gains`.

    Raises:
        ValueError: for unknown tasks, repeated seeds, or if `part` leaves models to other processes that have not
            finished.

    Example:

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(64, 4)).astype("float32")
    >>> rows = tf.data.Dataset.from_tensor_slices((x, {"a": x[:, 0], "b": x[:, 0] + x[:, 1]})).batch(16)
    >>> def build(tasks):
    ...     trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    ...     model = mtl.build_model(keras.Input((4,)), trunk, [mtl.tasks.Regression(task) for task in tasks])
    ...     model.compile(keras.optimizers.Adam(0.01))
    ...     return model
    >>> result = mtl.analysis.gains(build, (rows, rows), seeds=2, tasks=["a", "b"], epochs=2, verbose=0)
    >>> [(gain.task, gain.metric) for gain in result.of()][:3]
    [('a', 'mae'), ('a', 'rmse'), ('a', 'pearson')]
    """
    order = tuple(tasks)
    chosen = tuple(_ordered(subset, order) for subset in ([order] if subsets is None else subsets))
    numbers = seed_numbers(seeds)
    together = tuple(dict.fromkeys(subset for subset in chosen if len(subset) > 1))
    if not together:
        raise ValueError(f"`subsets` must hold a subset of at least two of the tasks {list(order)}, received {chosen}.")
    epochs = integer("epochs", epochs, 1)
    models = [(subset, seed) for seed in numbers for subset in (*together, *((task,) for task in order))]
    runs = [Run("+".join(subset), subset, seed, epochs, gaps) for subset, seed in models]
    finished: Mapping[Run, Finished] = finish(runs, lambda run: build(run.tasks), data, folder, part, verbose, "gains")
    return Gains(
        order,
        numbers,
        together,
        {(run.tasks, run.seed): each.results for run, each in finished.items()},
        None if lower_is_better is None else tuple(lower_is_better),
        {(run.tasks, run.seed): each.losses for run, each in finished.items() if gaps},
    )


def _ordered(subset: Sequence[str], tasks: Sequence[str]) -> tuple[str, ...]:
    check_names("subsets", subset, tasks, required=False)
    return tuple(task for task in tasks if task in subset)
