"""All variables that a training run changes, read as arrays and restored from them."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Arrays = Sequence[np.ndarray]


class RunVariables:
    """The variables of a model in training: those that all workers share, and each worker's variables of metrics.

    Args:
        model: The compiled model, with a built optimizer.
    """

    def __init__(self, model: keras.Model):
        self._strategy = model.distribute_strategy
        self._metrics = _unique(v for metric in model.metrics for v in metric.variables)
        of_metrics = {id(v) for v in self._metrics}
        variables = _unique([*model.variables, *model.optimizer.variables, *model.balancing.variables])
        self._shared = [v for v in variables if id(v) not in of_metrics]

    def shared_values(self) -> list[np.ndarray]:
        """Return the values of the variables of the model, its optimizer and its balancing method."""
        return [self._replicas(v)[0].numpy() for v in self._shared]

    def metric_values(self) -> list[np.ndarray]:
        """Return the values of the metrics' variables on each of this worker's replicas, [replicas, ...]."""
        return [np.stack([replica.numpy() for replica in self._replicas(v)]) for v in self._metrics]

    def restore_shared(self, arrays: Arrays) -> None:
        """Assign what `shared_values` returned.

        Raises:
            ValueError: if the values are those of another model, optimizer or balancing method.
        """
        _check_shapes(self._shared, [array.shape for array in arrays])
        for variable, array in zip(self._shared, arrays, strict=True):
            for replica in self._replicas(variable):
                replica.assign(_with_dtype_of(variable, array))

    def restore_metrics(self, workers: Sequence[Arrays], worker: int) -> None:
        """Assign what `metric_values` returned on each worker.

        If the number of replicas has changed, the first one gets the sums and the others get zeros.

        Args:
            workers: The values of each worker.
            worker: The index of this worker.

        Raises:
            ValueError: if the values are those of other metrics.
        """
        for arrays in workers:
            _check_shapes(self._metrics, [array.shape[1:] for array in arrays])
        for index, variable in enumerate(self._metrics):
            values = _with_dtype_of(variable, np.concatenate([arrays[index] for arrays in workers]))
            if len(values) != self._strategy.num_replicas_in_sync:
                total = values.sum(0, keepdims=True, dtype=values.dtype)
                values = np.zeros((self._strategy.num_replicas_in_sync, *values.shape[1:]), values.dtype)
                values[:1] = total
            replicas = self._replicas(variable)
            for replica, value in zip(replicas, values[worker * len(replicas) :], strict=False):
                replica.assign(value)

    def _replicas(self, variable: keras.Variable) -> Sequence[Any]:
        """The components of a variable on this worker's replicas."""
        return self._strategy.experimental_local_results(variable.value)


def _unique(variables: Iterable[keras.Variable]) -> list[keras.Variable]:
    return list({id(v): v for v in variables}.values())


def _with_dtype_of(variable: keras.Variable, array: np.ndarray) -> np.ndarray:
    """The array with the variable's dtype, which NumPy's files lose if it is bfloat16, for example."""
    return array.view(tf.as_dtype(variable.dtype).as_numpy_dtype) if array.dtype.kind == "V" else array


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
