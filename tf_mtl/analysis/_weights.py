"""Search over loss weights, or over the tasks' importance: the trade-offs between the tasks' results."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tf_mtl._arguments import integer
from tf_mtl._model import MultiTaskModel
from tf_mtl._names import check_names
from tf_mtl.analysis._pareto import hypervolume, pareto
from tf_mtl.analysis._runs import Data, Run, check_metric, finish, seed_numbers
from tf_mtl.report import table
from tf_mtl.report._direction import direction
from tf_mtl.report._scatter import scatter


class Trial(NamedTuple):
    """Weights that were tried.

    Attributes:
        weights: `{task: weight}`.
        results: `{task: result}`, the means over seeds.
    """

    weights: dict[str, float]
    results: dict[str, float]


@dataclass(frozen=True)
class WeightSearch:
    """Weights and the results of the models trained with them; `print` shows them, with a star for the Pareto set.

    Attributes:
        trials: For each candidate a named tuple (weights, results).
        metrics: `{task: metric}`.
        lower_is_better: The tasks for whose metric lower is better; None to go by the metrics' names, as
            `report.compare` does.
    """

    trials: tuple[Trial, ...]
    metrics: Mapping[str, str]
    lower_is_better: tuple[str, ...] | None = None

    @property
    def pareto(self) -> tuple[Trial, ...]:
        """The trials for which no other is at least as good for all tasks and better for one."""
        return tuple(trial for trial, best in zip(self.trials, self._is_pareto, strict=True) if best)

    def hypervolume(self, reference: Mapping[str, float]) -> float:
        """Return the volume, in the space of results, of what is better than a reference and worse than some trial.

        Two searches with the same tasks, metrics and reference can be compared by it. It depends on the scales of the
        metrics.

        Args:
            reference: `{task: result}` that good trials exceed for every task, such as the worst results of interest.
        """
        check_names("reference", reference, self.metrics)
        point = np.array([reference[task] for task in self.metrics])
        return hypervolume(self._values, self._signs * point)

    def best(self, reference: Mapping[str, float]) -> Trial:
        """Return the trial with the highest mean relative gain over a reference, which is delta-m as in LibMTL.

        Args:
            reference: `{task: result}`, none of them 0: of single-task models, for example.

        Raises:
            ValueError: for references that are 0, or if all trials have results that are NaN.
        """
        check_names("reference", reference, self.metrics)
        base = np.array([reference[task] for task in self.metrics])
        gains = ((self._values - self._signs * base) / np.abs(np.where(base == 0, np.nan, base))).mean(1)
        if np.isnan(gains).all():
            raise ValueError(
                "`best` needs references other than 0 and a trial whose results are numbers, received the references "
                f"{dict(reference)}."
            )
        return self.trials[int(np.nanargmax(gains))]

    def plot(self, path: str | Path) -> Path:
        """Plot the results of each two tasks, with the Pareto set marked, and save a PNG file.

        It needs matplotlib (`pip install tf_mtl[recipes]`).

        Args:
            path: The file to write.

        Returns:
            The path of the file.
        """
        results = {
            f"{task} {metric}": [trial.results[task] for trial in self.trials] for task, metric in self.metrics.items()
        }
        return scatter(results, path, marked=self._is_pareto.tolist(), label="Pareto set")

    def __str__(self) -> str:
        tasks = list(self.metrics)
        rows = [
            [*(trial.weights[task] for task in tasks), *(trial.results[task] for task in tasks), "*" if best else ""]
            for trial, best in zip(self.trials, self._is_pareto, strict=True)
        ]
        header = [*(f"weight of {task}" for task in tasks), *(f"{t} {m}" for t, m in self.metrics.items()), "Pareto"]
        return table(header, rows, digits=4)

    @property
    def _signs(self) -> np.ndarray:
        """1 for tasks whose metric is better if higher, -1 for others."""
        if self.lower_is_better is not None:
            return np.array([-1.0 if task in self.lower_is_better else 1.0 for task in self.metrics])
        return np.array([direction(name, self.metrics) for name in self.metrics.values()])

    @property
    def _values(self) -> np.ndarray:
        """The results, [N, T], with the sign by which higher is better."""
        return self._signs * np.array([[trial.results[task] for task in self.metrics] for trial in self.trials])

    @property
    def _is_pareto(self) -> np.ndarray:
        return pareto(self._values)


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
    lower = _lower(lower_is_better, metrics)
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


def tuned_weights(
    tuner: Any, weights: Mapping[str, str], metrics: Mapping[str, str], lower_is_better: Sequence[str] | None = None
) -> WeightSearch:
    """Return the trade-offs between the tasks in the trials of a KerasTuner search.

    KerasTuner chooses the weights if the function that builds the model asks for them. Its objective is a single
    number, such as `val_gain` of `tf_mtl.callbacks.MultiTaskEarlyStopping` or `val_loss`; the trade-offs are in the
    logs of the trials.

    Args:
        tuner: A tuner of keras_tuner (`pip install tf_mtl[tuner]`), after `search`.
        weights: `{task: name of the hyperparameter}`.
        metrics: `{task: name in the logs}`, such as "val_ner_span_f1"; the result is that of the trial's best epoch.
        lower_is_better: See `weights`.

    Raises:
        ValueError: if the tasks of `weights` and `metrics` differ, or no trial has completed.

    Example:

    ```python
    def build(hp):
        model = mtl.build_model(inputs, trunk(), tasks())
        weights = {task: hp.Float(task, 0.1, 10, sampling="log") for task in ("topic", "ner")}
        model.compile("adamw", loss_weights=weights)
        return model

    tuner = keras_tuner.BayesianOptimization(build, keras_tuner.Objective("val_topic_accuracy", "max"), max_trials=20)
    tuner.search(train, validation_data=validation, epochs=3)
    metrics = {"topic": "val_topic_accuracy", "ner": "val_ner_span_f1"}
    print(mtl.analysis.tuned_weights(tuner, {"topic": "topic", "ner": "ner"}, metrics))
    ```
    """
    check_names("weights", weights, metrics)
    lower = _lower(lower_is_better, metrics)
    trials = [trial for trial in tuner.oracle.trials.values() if trial.status == "COMPLETED"]
    if not trials:
        raise ValueError("`tuner` must have completed a trial, but has none. Call its `search` first.")
    found = [
        Trial(
            {task: float(trial.hyperparameters.get(name)) for task, name in weights.items()},
            {task: _at_best_step(trial, name) for task, name in metrics.items()},
        )
        for trial in trials
    ]
    return WeightSearch(tuple(found), dict(metrics), lower)


def _lower(lower_is_better: Sequence[str] | None, metrics: Mapping[str, str]) -> tuple[str, ...] | None:
    if lower_is_better is None:
        return None
    check_names("lower_is_better", lower_is_better, metrics, required=False)
    return tuple(lower_is_better)


def _at_best_step(trial: Any, name: str) -> float:
    check_metric("metrics", name, trial.metrics.metrics)
    history = {each.step: each.value for each in trial.metrics.get_history(name)}
    return float(np.mean(history[trial.best_step]))
