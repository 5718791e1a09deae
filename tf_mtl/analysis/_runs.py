"""Training runs whose results are kept."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl._files import whole_file
from tf_mtl._model import MultiTaskModel
from tf_mtl._names import nearest
from tf_mtl.data import Mixture

Results = Mapping[str, Mapping[str, float]]
Data = tuple[tf.data.Dataset, tf.data.Dataset]


class Run(NamedTuple):
    """A model to train.

    Attributes:
        name: What distinguishes it from others of the same seed.
        tasks: The tasks that it is trained on.
        seed: The seed of its weights, its dropout and Keras' shuffling.
        epochs: The number of epochs.
        with_losses: Whether the losses on both parts of the data are measured before training and after each epoch.
    """

    name: str
    tasks: tuple[str, ...]
    seed: int
    epochs: int
    with_losses: bool = False

    @property
    def file(self) -> str:
        """The name of the file with its results, in which long names are cut and some characters replaced."""
        digest = hashlib.sha256(self.name.encode()).hexdigest()[:8]
        losses = ".losses" if self.with_losses else ""
        name = re.sub(r"[^\w+=.,-]", "_", self.name)[:80]
        return f"{name}.{digest}.seed-{self.seed}.epochs-{self.epochs}{losses}.json"


class Finished(NamedTuple):
    """What a run has left.

    Attributes:
        results: The results on the test data, `{task: {metric: value}}`.
        losses: The losses `{task: [[train, test], ...]}` before training and after each epoch, if they were measured.
    """

    results: Results
    losses: Mapping[str, Sequence[Sequence[float]]]


def finish(
    runs: Sequence[Run],
    build: Callable[[Run], MultiTaskModel],
    data: Data,
    folder: str | Path | None,
    part: tuple[int, int],
    verbose: int,
    caller: str,
    check: Callable[[Results], None] = lambda results: None,
) -> dict[Run, Finished]:
    """Train the models that have not been trained yet, and return what all have left.

    Args:
        runs: The models.
        build: From a run to its compiled model.
        data: Batches to train and to test on.
        folder: Where results are kept; None to keep them in memory only.
        part: (k, n) to train the k-th of n parts of the models.
        verbose: 1 prints the number of models and a progress bar.
        caller: The function that has these arguments, for messages.
        check: Raises if the results of a model are not what is needed; called as soon as there are some.

    Raises:
        ValueError: for a wrong `part`, or if others have not finished theirs.
    """
    if not 0 <= part[0] < part[1]:
        raise ValueError(f"`part` must be (k, n), the k-th of n processes counted from 0, received {part}.")
    finished = {run: found for run in runs if (found := _read(run, folder)) is not None}
    for each in finished.values():
        check(each.results)
    to_train = [run for index, run in enumerate(runs) if run not in finished and index % part[1] == part[0]]
    if verbose:
        print(f"{len(runs)} models, {len(finished)} of them finished; {len(to_train)} to train here.")
    progress = keras.utils.Progbar(len(to_train), unit_name="model", verbose=verbose if to_train else 0)
    for number, run in enumerate(to_train, 1):
        finished[run] = _train(run, build, data)
        _write(run, finished[run], folder)
        check(finished[run].results)
        progress.update(number)
    of_all = {run: finished[run] if run in finished else _read(run, folder) for run in runs}
    left = [run for run, each in of_all.items() if each is None]
    if left:
        raise ValueError(
            f"`part`={part} leaves {len(left)} models to other processes, the first is {left[0]}. Call `{caller}` "
            "again when they have finished."
        )
    return {run: each for run, each in of_all.items() if each is not None}


def seed_numbers(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """Return the seeds, given as a list or as their number.

    Raises:
        ValueError: if there are none, or one occurs twice.
    """
    if not isinstance(seeds, (int, np.integer)):
        numbers = tuple(integer("seeds", seed, 0) for seed in seeds)
    else:
        numbers = tuple(range(integer("seeds", seeds, 1)))
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"`seeds` must be different numbers, at least one, received {list(numbers)}.")
    return numbers


def check_metric(argument: str, metric: str, results: Iterable[str]) -> None:
    """Check that a metric is one of those with results.

    Raises:
        ValueError: if it is not.
    """
    names = list(results)
    if metric not in names:
        raise ValueError(f"`{argument}` must be one of {names}, received '{metric}'.{nearest(metric, names)}")


def of_tasks(data: tf.data.Dataset, tasks: Sequence[str]) -> tf.data.Dataset:
    """Return batches with the labels and weights of some tasks alone."""

    def select(x, y, weight=None):
        labels = {task: y[task] for task in tasks}
        if weight is None:
            return x, labels
        return x, labels, {task: weight[task] for task in tasks if task in weight}

    return data.map(select, num_parallel_calls=tf.data.AUTOTUNE)


def _read(run: Run, folder: str | Path | None) -> Finished | None:
    if folder is None or not (file := Path(folder) / run.file).is_file():
        return None
    return Finished(**json.loads(file.read_text()))


def _write(run: Run, finished: Finished, folder: str | Path | None) -> None:
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with whole_file(Path(folder) / run.file) as file:
            file.write(json.dumps(finished._asdict()).encode())


def _train(run: Run, build: Callable[[Run], MultiTaskModel], data: Data) -> Finished:
    """Train a model.

    Raises:
        ValueError: if the model has other tasks.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(run.seed)
    model = build(run)
    if set(model.task_names) != set(run.tasks):
        raise ValueError(f"`build` must return a model of the tasks {list(run.tasks)}, received {model.task_names}.")
    train_data, test_data = (of_tasks(part, run.tasks) for part in data)
    losses: dict[str, list[list[float]]] = {task: [] for task in run.tasks}

    def measure(*_: Any) -> None:
        parts = [model.evaluate(part, verbose=0, return_dict=True) for part in (train_data, test_data)]
        for task, values in losses.items():
            values.append([float(part[f"{task}_loss"]) for part in parts])

    measuring = keras.callbacks.LambdaCallback(on_train_begin=measure, on_epoch_end=measure)
    model.fit(
        train_data,
        epochs=run.epochs,
        steps_per_epoch=len(data[0]) if isinstance(data[0], Mixture) else None,
        verbose=0,
        callbacks=[measuring] if run.with_losses else [],
    )
    results = model.evaluate(test_data, verbose=0, return_dict=True)
    of_each = {task: dict(_of_task(task, model, results)) for task in run.tasks}
    return Finished(of_each, losses if run.with_losses else {})


def _of_task(task: str, model: MultiTaskModel, results: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The results of a task's metrics, or its loss without any."""
    names = [name for metric in model.metrics_by_task[task] for name in getattr(metric, "result_names", (metric.name,))]
    for name in names or ["loss"]:
        yield name, float(results[f"{task}_{name}"])
