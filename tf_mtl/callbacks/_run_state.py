"""All variables that a training run changes, as arrays, and back."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

Arrays = Sequence[np.ndarray]


class RunState:
    """The variables of a model in training: those that all workers share, and the metrics', of which each has its own.

    Args:
        model: The compiled model, its optimizer built.
    """

    def __init__(self, model: keras.Model):
        self._strategy = model.distribute_strategy
        self._metrics = _once(v for metric in model.metrics for v in metric.variables)
        others = {id(v) for v in self._metrics}
        found = _once([*model.variables, *model.optimizer.variables, *model.balancing.variables])
        self._shared = [v for v in found if id(v) not in others]

    def shared(self) -> list[np.ndarray]:
        """Return the values of the model's, optimizer's and balancing method's variables."""
        return [self._parts(v)[0].numpy() for v in self._shared]

    def metrics(self) -> list[np.ndarray]:
        """Return the values of the metrics' variables on each of this worker's replicas, [replicas, ...]."""
        return [np.stack([part.numpy() for part in self._parts(v)]) for v in self._metrics]

    def restore_shared(self, arrays: Arrays) -> None:
        """Give the variables the values of `shared`.

        Raises:
            ValueError: if they are those of another model, optimizer or balancing method.
        """
        _check(self._shared, [array.shape for array in arrays])
        for variable, array in zip(self._shared, arrays, strict=True):
            for part in self._parts(variable):
                part.assign(_as(array, variable))

    def restore_metrics(self, workers: Sequence[Arrays], worker: int) -> None:
        """Give the metrics' variables the values of `metrics`, given from all workers.

        Where the number of replicas has changed, the first one gets the sums and the others zeros.

        Raises:
            ValueError: if they are those of other metrics.
        """
        for arrays in workers:
            _check(self._metrics, [array.shape[1:] for array in arrays])
        for place, variable in enumerate(self._metrics):
            values = _as(np.concatenate([arrays[place] for arrays in workers]), variable)
            if len(values) != self._strategy.num_replicas_in_sync:
                sums = values.sum(0, keepdims=True, dtype=values.dtype)
                values = np.zeros((self._strategy.num_replicas_in_sync, *values.shape[1:]), values.dtype)
                values[:1] = sums
            parts = self._parts(variable)
            for part, value in zip(parts, values[worker * len(parts) :], strict=False):
                part.assign(value)

    def _parts(self, variable):
        return self._strategy.experimental_local_results(variable.value)


def _once(variables):
    return list({id(v): v for v in variables}.values())


def _as(array, variable):
    """The array as the variable's type, which NumPy's files do not know of where it is bfloat16."""
    return array.view(tf.as_dtype(variable.dtype).as_numpy_dtype) if array.dtype.kind == "V" else array


def _check(variables, shapes):
    expected = [tuple(v.shape) for v in variables]
    if expected == list(shapes):
        return
    pairs = zip(variables, expected, shapes, strict=False)
    differing = [f"{v.path} has shape {one}, there {other}" for v, one, other in pairs if one != other]
    raise ValueError(
        f"The checkpoint holds {len(shapes)} variables where this run has {len(expected)}: "
        f"{differing[0] if differing else 'their numbers differ'}. It is of another model, optimizer or balancing "
        "method: give `Checkpoint` another directory, or delete this one."
    )
