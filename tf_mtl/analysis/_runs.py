"""Training runs on subsets of tasks, whose results are kept."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_mtl._files import whole_file
from tf_mtl._model import MultiTaskModel

Results = Mapping[str, Mapping[str, float]]


class Run(NamedTuple):
    """A model to train.

    Attributes:
        tasks: The tasks that it is trained on.
        seed: The seed of its weights, its dropout and Keras' shuffling.
        epochs: The number of epochs.
    """

    tasks: tuple[str, ...]
    seed: int
    epochs: int

    @property
    def file(self) -> str:
        """The name of the file with its results, in which long lists of tasks are cut."""
        names = "+".join(self.tasks)
        digest = hashlib.sha256(names.encode()).hexdigest()[:8]
        return f"{names[:80]}.{digest}.seed-{self.seed}.epochs-{self.epochs}.json"


class Runs:
    """The results of runs, in a folder if one is given.

    Args:
        folder: The folder; None to keep results in memory only.
    """

    def __init__(self, folder: str | Path | None):
        self._folder = None if folder is None else Path(folder)
        self._results: dict[Run, Results] = {}

    def find(self, run: Run) -> Results | None:
        """Return the results of a run; None if it has not finished."""
        if run not in self._results and self._folder is not None and (self._folder / run.file).is_file():
            self._results[run] = json.loads((self._folder / run.file).read_text())
        return self._results.get(run)

    def add(self, run: Run, results: Results) -> None:
        """Keep the results of a run."""
        self._results[run] = results
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            with whole_file(self._folder / run.file) as file:
                file.write(json.dumps(results).encode())


def train(
    run: Run,
    build: Callable[[tuple[str, ...]], MultiTaskModel],
    data: tuple[tf.data.Dataset, tf.data.Dataset],
) -> dict[str, dict[str, float]]:
    """Return the results on the test data, `{task: {metric: value}}`, of a model trained on some tasks.

    Raises:
        ValueError: if the model has other tasks.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(run.seed)
    model = build(run.tasks)
    if set(model.task_names) != set(run.tasks):
        raise ValueError(f"`build` must return a model of the tasks {list(run.tasks)}, received {model.task_names}.")
    train_data, test_data = (of_tasks(part, run.tasks) for part in data)
    model.fit(train_data, epochs=run.epochs, verbose=0)
    results = model.evaluate(test_data, verbose=0, return_dict=True)
    return {task: dict(_of_task(task, model, results)) for task in run.tasks}


def of_tasks(data: tf.data.Dataset, tasks: Sequence[str]) -> tf.data.Dataset:
    """Return batches with the labels and weights of some tasks alone."""

    def select(x, y, weight=None):
        labels = {task: y[task] for task in tasks}
        if weight is None:
            return x, labels
        return x, labels, {task: weight[task] for task in tasks if task in weight}

    return data.map(select, num_parallel_calls=tf.data.AUTOTUNE)


def _of_task(task: str, model: MultiTaskModel, results: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The results of a task's metrics, or its loss without any."""
    names = [name for metric in model.metrics_by_task[task] for name in getattr(metric, "result_names", (metric.name,))]
    for name in names or ["loss"]:
        yield name, float(results[f"{task}_{name}"])
