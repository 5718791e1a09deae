"""All variables that a training run changes, read as arrays and restored from them."""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from tf_mtl.callbacks._checkpoint_files import typed

Arrays: TypeAlias = Sequence[np.ndarray]
Description: TypeAlias = Mapping[str, list[str]]
_NUMBERED = re.compile(r"_[1-9]\d*$")  # as Keras numbers names


class RunVariables:
    """The variables of a model in training: those that all workers share, and each replica's variables of metrics.

    Args:
        model: The compiled model, with a built optimizer.
        gather: Returns the rows of all workers from the integers of this one.

    Attributes:
        learning_rates: The learning rates that are variables, as the run began with them.
    """

    def __init__(self, model: keras.Model, gather: Callable[[Any], np.ndarray]):
        self._gather = gather
        self._strategy = model.distribute_strategy
        self._tasks = set(model.task_names)
        self._metrics = _unique(v for metric in model.metrics for v in metric.variables)
        self._groups: dict[str, list[keras.Variable]] = {}
        seen = {id(v) for v in self._metrics}
        for group, owner in (("weights", model), ("optimizer", model.optimizer), ("balancing", model.balancing)):
            self._groups[group] = [v for v in _unique(owner.variables) if id(v) not in seen]
            seen |= {id(v) for v in self._groups[group]}
        self._rates = [v for v in self._groups["optimizer"] if v.path.endswith("/learning_rate")]
        self.learning_rates = [float(self._replicas(v)[0].numpy()) for v in self._rates]
        self._finite = {id(v) for v, array in zip(self._shared, self.shared_values(), strict=True) if _finite(array)}

    @property
    def description(self) -> Description:
        """The names, shapes and types of each group of variables: weights, optimizer, balancing and metrics."""
        groups = (*self._groups.items(), ("metrics", self._metrics))
        return {group: self._descriptions(group, variables) for group, variables in groups}

    def shared_values(self) -> list[np.ndarray]:
        """Return copies of the values of the variables of the model, its optimizer and its balancing method."""
        return [self._replicas(v)[0].numpy() for v in self._shared]

    def metric_values(self) -> list[np.ndarray]:
        """Return the values of the metrics' variables on the replicas of all workers, [replicas, ...]."""
        own = [np.stack([replica.numpy() for replica in self._replicas(v)]) for v in self._metrics]
        flat = np.concatenate([np.zeros(0), *(values.ravel().astype("float64") for values in own)])
        rows = self._gather(flat.view(np.int64)).view(np.float64)  # exact, and the same for all types of metrics
        parts = np.split(rows, np.cumsum([values.size for values in own])[:-1], axis=1)
        return [part.reshape(-1, *v.shape).astype(_dtype(v)) for v, part in zip(self._metrics, parts, strict=True)]

    def check_finite(self, arrays: Arrays) -> None:
        """Raise if `shared_values` returned NaN or infinity for variables without them when the run began.

        Raises:
            ValueError: naming a variable.
        """
        pairs = zip(self._shared, arrays, strict=True)
        wrong = [v.path for v, array in pairs if id(v) in self._finite and not _finite(array)]
        if wrong:
            raise ValueError(f"{len(wrong)} variables hold NaN or infinity, such as {wrong[0]}")

    def restore_shared(self, arrays: Arrays, saved: Description | None) -> None:
        """Assign what `shared_values` returned to variables of the same description; others keep their values.

        Args:
            arrays: The values.
            saved: The `description` of the run that saved them; None for one that described nothing.

        Raises:
            ValueError: without a description, if the shapes are those of other variables.
        """
        if saved is None:
            _check_shapes(self._shared, [array.shape for array in arrays])
            saved = self.description
        left = list(arrays)
        for group, variables in self._groups.items():
            names, own = saved[group], self._descriptions(group, variables)
            values, left = left[: len(names)], left[len(names) :]
            if own != names and group != "weights":
                continue
            for own_index, index in _matches(own, names).items():
                for replica in self._replicas(variables[own_index]):
                    replica.assign(_with_dtype(values[index], names[index], variables[own_index]))

    def learning_rates_in(self, arrays: Arrays, saved: Description | None) -> list[float]:
        """Return the learning rates among values that a run of some description saved."""
        if saved is None:
            return []
        first = len(saved["weights"])
        pairs = zip(saved["optimizer"], arrays[first : first + len(saved["optimizer"])], strict=True)
        return [float(array) for description, array in pairs if "/learning_rate [" in description]

    def set_learning_rates(self) -> None:
        """Assign the learning rates that the run began with."""
        for variable, rate in zip(self._rates, self.learning_rates, strict=True):
            variable.assign(rate)

    def restore_metrics(self, arrays: Arrays, worker: int, saved: Description | None) -> None:
        """Assign what `metric_values` returned to metrics of the same description; others keep their values.

        If the number of replicas has changed, the first one gets the sums and the others get zeros.

        Args:
            arrays: The values.
            worker: The index of this worker.
            saved: The `description` of the run that saved them; None for one that described nothing.

        Raises:
            ValueError: without a description, if the shapes are those of other metrics.
        """
        if saved is None:
            _check_shapes(self._metrics, [array.shape[1:] for array in arrays])
            saved = self.description
        for own_index, index in _matches(self.description["metrics"], saved["metrics"]).items():
            variable, values = self._metrics[own_index], arrays[index]
            if len(values) != self._strategy.num_replicas_in_sync:
                total = values.sum(0, keepdims=True, dtype=values.dtype)
                values = np.zeros((self._strategy.num_replicas_in_sync, *values.shape[1:]), values.dtype)
                values[:1] = total
            replicas = self._replicas(variable)
            for replica, value in zip(replicas, values[worker * len(replicas) :], strict=False):
                replica.assign(value)

    def _descriptions(self, group: str, variables: Sequence[keras.Variable]) -> list[str]:
        paths = [v.path for v in variables]
        names = _names_of_slots(paths) if group == "optimizer" else _stable_names(paths, self._tasks)
        return [f"{name} {list(v.shape)} {v.dtype}" for name, v in zip(names, variables, strict=True)]

    @property
    def _shared(self) -> list[keras.Variable]:
        return [v for variables in self._groups.values() for v in variables]

    def _replicas(self, variable: keras.Variable) -> Sequence[Any]:
        """The components of a variable on this worker's replicas."""
        return self._strategy.experimental_local_results(variable.value)


def _unique(variables: Iterable[keras.Variable]) -> list[keras.Variable]:
    return list({id(v): v for v in variables}.values())


def _dtype(variable: keras.Variable) -> np.dtype:
    return tf.as_dtype(variable.dtype).as_numpy_dtype


def _finite(array: np.ndarray) -> bool:
    if array.dtype.kind in "biuOSU":
        return True
    return bool(np.isfinite(array.sum(dtype="float64")))  # much faster than a test of each element


def _matches(own: Sequence[str], saved: Sequence[str]) -> dict[int, int]:
    """The indices of equal descriptions: all of them in their order, or else those with the same name and shape."""
    if list(own) == list(saved):
        return {index: index for index in range(len(own))}
    known = {_untyped(description): index for index, description in enumerate(saved)}
    return {index: known[_untyped(each)] for index, each in enumerate(own) if _untyped(each) in known}


def _untyped(description: str) -> str:
    return description.rpartition(" ")[0]


def _names_of_slots(paths: Sequence[str]) -> list[str]:
    """The paths of an optimizer's variables without the numbers that Keras adds to names."""
    return [re.sub(r"_\d+(?=[_/]|$)", "", path) for path in paths]


def _stable_names(paths: Sequence[str], tasks: Set[str]) -> list[str]:
    """Variables' paths in which the numbers that Keras adds to names count from the smallest in this process.

    The tasks' names, which the user has given, stay as they are.
    """
    parts = [[(part, 0) if part in tasks else _without_number(part) for part in path.split("/")] for path in paths]
    least: dict[str, int] = {}
    for name, number in itertools.chain(*parts):
        least[name] = min(number, least.get(name, number))
    return [
        "/".join(f"{name}_{number - least[name]}" if number > least[name] else name for name, number in path)
        for path in parts
    ]


def _without_number(name: str) -> tuple[str, int]:
    """Return a name without the number that Keras may have added, and the number."""
    match = _NUMBERED.search(name)
    return (name[: match.start()], int(match[0][1:])) if match else (name, 0)


def _with_dtype(array: np.ndarray, description: str, variable: keras.Variable) -> np.ndarray:
    """The array of a described variable with the dtype of another."""
    return typed(array, description.rpartition(" ")[2]).astype(_dtype(variable), copy=False)


def _check_shapes(variables: Sequence[keras.Variable], shapes: Sequence[tuple[int, ...]]) -> None:
    expected = [tuple(v.shape) for v in variables]
    if expected == list(shapes):
        return
    pairs = zip(variables, expected, shapes, strict=False)
    differing = [f"{v.path} has the shape {own}, in the checkpoint {saved}" for v, own, saved in pairs if own != saved]
    raise ValueError(
        f"The checkpoint has {len(shapes)} variables where this run has {len(expected)}: "
        f"{differing[0] if differing else 'their numbers differ'}. It belongs to another model, optimizer or balancing "
        "method: give `Checkpoint` another directory, or delete this one."
    )
