"""Gradual pruning of weights by magnitude."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl._pipeline.forms import unpacked
from tf_mtl.report import variants


class _Masks(NamedTuple):
    """The masks in use.

    Attributes:
        arrays: The list of arrays in `MagnitudePruning.masks` that they were made from.
        tensors: The masks as tensors.
    """

    arrays: list[np.ndarray]
    tensors: list[tf.Tensor]


class MagnitudePruning(keras.callbacks.Callback):
    r"""Sets an increasing fraction of each weight matrix to zero, smallest magnitudes first, and keeps it at zero.

    Every `every` steps between `begin` $t_0$ and `end` $t_1$, after step $t$, each matrix gets the sparsity

    $$s_t = s_f \left(1 - \left(1 - \frac{t - t_0}{t_1 - t_0}\right)^3\right),$$

    which reaches `sparsity` $s_f$ at `end` and stays there. Weights set to zero remain zero until the end of training.
    `sparsity` is logged at the end of each epoch. With `data`, a table of every task's results before and after the
    training is printed at its end, to show the effect of pruning on each task.

    Zeros make compressed files smaller, but do not make dense kernels faster.

    Place the callback before `tf_mtl.callbacks.Checkpoint`, which saves its masks with the run. Callbacks are called at
    the end of an execution, so `every` should be a multiple of `steps_per_execution`.

    Args:
        sparsity: The fraction of zeros at the end, in (0, 1).
        begin: The optimizer step after which pruning starts.
        end: The optimizer step at which the final sparsity is reached; train for some more steps after it.
        every: The number of steps between two prunings.
        variables: The variables to prune; by default all trainable kernels and embeddings.
        data: Labelled data for the table, as `evaluate` takes them: a data set, or a tuple of arrays.

    Raises:
        ValueError: for a sparsity outside (0, 1), steps that are not integers, or `begin` not below `end`; in `fit`, if
            there are no variables to prune.

    Example:

    >>> trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    >>> model = mtl.build_model(keras.Input((4,)), trunk, [mtl.tasks.Regression("price")])
    >>> model.compile("adam")
    >>> pruning = mtl.callbacks.MagnitudePruning(0.75, begin=2, end=6, every=2)
    >>> history = model.fit(np.ones((8, 4)), {"price": np.ones(8)}, 1, epochs=1, callbacks=[pruning], verbose=0)
    >>> history.history["sparsity"]
    [0.75]

    Reference: Zhu & Gupta, "To Prune, or Not to Prune: Exploring the Efficacy of Pruning for Model Compression", 2017.
    """

    def __init__(
        self,
        sparsity: float,
        begin: int,
        end: int,
        every: int = 100,
        variables: Sequence[keras.Variable] | None = None,
        data: Any = None,
    ):
        super().__init__()
        if not 0 < sparsity < 1:
            raise ValueError(f"`sparsity` must be between 0 and 1, the fraction of zeros, received {sparsity!r}.")
        self.sparsity = sparsity
        self.begin = integer("begin", begin, 0)
        self.end = integer("end", end, self.begin + 1)
        self.every = integer("every", every, 1)
        self.variables = variables
        self.data = data
        self.masks: list[np.ndarray] = []
        self.rounds = 0
        self._masks_in_use: _Masks | None = None
        self._results_before: dict[str, float] = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if not self._pruned_variables():
            raise ValueError("There is nothing to prune: the model has no trainable kernels, or `variables` is empty.")
        if self.data is not None:
            self._results_before = self._evaluate()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        step = int(_array(self.model.optimizer.iterations))
        rounds = self._rounds_by(step)
        if rounds > self.rounds:
            self.rounds = rounds
            self._prune(self.scheduled(step))
        if self.masks:
            self._mask()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs["sparsity"] = self._zeros()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.masks:
            self._mask()  # again, since the optimizer has just replaced the weights by averages
        if self.data is not None:
            print(variants({"before": self._results_before, f"{self._zeros():.0%} zeros": self._evaluate()}))

    def scheduled(self, step: int) -> float:
        """Return the scheduled sparsity after a step."""
        progress = np.clip((step - self.begin) / (self.end - self.begin), 0.0, 1.0)
        return float(self.sparsity * (1 - (1 - progress) ** 3))

    def _rounds_by(self, step):
        """The number of prunings due by a step, including the one at `end`."""
        if step <= self.begin:
            return 0
        rounds = -(-(self.end - self.begin) // self.every)
        return rounds if step >= self.end else (step - self.begin) // self.every

    def _pruned_variables(self):
        if self.variables is not None:
            return list(self.variables)
        return [v for v in self.model.trainable_variables if v.name.endswith(("kernel", "embeddings"))]

    def _prune(self, sparsity):
        self.masks = [_mask(_array(variable), sparsity) for variable in self._pruned_variables()]

    def _mask(self):
        if self._masks_in_use is None or self._masks_in_use.arrays is not self.masks:  # new or restored masks
            self._masks_in_use = _Masks(self.masks, [tf.constant(mask) for mask in self.masks])
        with self.model.distribute_strategy.scope():
            for variable, mask in zip(self._pruned_variables(), self._masks_in_use.tensors, strict=True):
                variable.assign(tf.where(mask, variable.value, 0))

    def _zeros(self):
        values = [_array(variable) for variable in self._pruned_variables()]
        return float(sum((value == 0).sum() for value in values) / sum(value.size for value in values))

    def _evaluate(self):
        x, y, weight = unpacked(self.data)
        return self.model.evaluate(x, y, sample_weight=weight, return_dict=True, verbose=0)


def _array(variable):
    return tf.convert_to_tensor(variable.value).numpy()  # NumPy cannot read mirrored variables directly


def _mask(values, sparsity):
    """A mask that is False for the smallest magnitudes."""
    count = round(sparsity * values.size)
    mask = np.ones(values.size, bool)
    mask[np.argsort(np.abs(values), axis=None, kind="stable")[:count]] = False
    return mask.reshape(values.shape)
