"""Weights set to zero by their magnitude, more and more of them."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._pipeline.stream import unpacked
from tf_mtl.report import variants


class MagnitudePruning(keras.callbacks.Callback):
    r"""Set a rising share of each weight matrix to zero, the smallest magnitudes first, and keep it there.

    After step $t$ between `begin` $t_0$ and `end` $t_1$, every `every` steps, each matrix gets the sparsity

    $$s_t = s_f \left(1 - \left(1 - \frac{t - t_0}{t_1 - t_0}\right)^3\right),$$

    which is `sparsity` $s_f$ from `end` on. Zeros stay zeros to the end of training. `sparsity` is logged at the end
    of each epoch. With `data`, a table of every task's results before and after the training is printed at its end:
    what pruning did to each task.

    Zeros make files smaller once they are compressed; dense kernels are no faster for them.

    Args:
        sparsity: The share of zeros at the end, in (0, 1).
        begin: The optimizer step after which pruning starts.
        end: The optimizer step from which the sparsity stays; leave some training after it.
        every: Steps between two prunings.
        variables: What to prune; by default all trainable kernels and embeddings.
        data: Labelled data for the table, as `evaluate` takes them: a data set, or a tuple of arrays.

    Place it before `tf_mtl.callbacks.Checkpoint`, which saves its masks with the run. Steps are seen at the end of an
    execution, so `every` should be a multiple of `steps_per_execution`.

    Raises:
        ValueError: for a sparsity outside (0, 1), steps that do not rise, or, in `fit`, nothing to prune.

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
            raise ValueError(f"`sparsity` must be between 0 and 1, the share of zeros, received {sparsity!r}.")
        if not 0 <= begin < end or every < 1:
            raise ValueError(
                f"Steps must be 0 <= begin < end and every >= 1, received begin={begin}, end={end}, every={every}."
            )
        self.sparsity = sparsity
        self.begin = begin
        self.end = end
        self.every = every
        self.variables = variables
        self.data = data
        self.masks = []
        self.rounds = 0
        self._in_force = None
        self._before = None

    def on_train_begin(self, logs=None):
        if not self._pruned():
            raise ValueError("There is nothing to prune: the model has no trainable kernels, or `variables` is empty.")
        if self.data is not None:
            self._before = self._evaluate()

    def on_train_batch_end(self, batch, logs=None):
        step = int(_array(self.model.optimizer.iterations))
        due = self._round(step)
        if due > self.rounds:
            self.rounds = due
            self._prune(self.scheduled(step))
        if self.masks:
            self._mask()

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["sparsity"] = self._zeros()

    def on_train_end(self, logs=None):
        if self.masks:
            self._mask()  # once more, for averaged weights have just taken the weights' place
        if self.data is not None:
            print(variants({"before": self._before, f"{self._zeros():.0%} zeros": self._evaluate()}))

    def scheduled(self, step: int) -> float:
        """Return the sparsity that the schedule gives after a step."""
        progress = np.clip((step - self.begin) / (self.end - self.begin), 0.0, 1.0)
        return float(self.sparsity * (1 - (1 - progress) ** 3))

    def _round(self, step):
        """How many prunings are due by a step, that at `end` included."""
        if step <= self.begin:
            return 0
        rounds = -(-(self.end - self.begin) // self.every)
        return rounds if step >= self.end else (step - self.begin) // self.every

    def _pruned(self):
        if self.variables is not None:
            return list(self.variables)
        return [v for v in self.model.trainable_variables if v.name.endswith(("kernel", "embeddings"))]

    def _prune(self, sparsity):
        self.masks = [_mask(_array(variable), sparsity) for variable in self._pruned()]

    def _mask(self):
        if self._in_force is None or self._in_force[0] is not self.masks:  # new ones, or restored ones
            self._in_force = self.masks, [tf.constant(mask) for mask in self.masks]
        with self.model.distribute_strategy.scope():
            for variable, mask in zip(self._pruned(), self._in_force[1], strict=True):
                variable.assign(tf.where(mask, variable.value, 0))

    def _zeros(self):
        values = [_array(variable) for variable in self._pruned()]
        return float(sum((value == 0).sum() for value in values) / sum(value.size for value in values))

    def _evaluate(self):
        x, y, weight = unpacked(self.data)
        return self.model.evaluate(x, y, sample_weight=weight, return_dict=True, verbose=0)


def _array(variable):
    return tf.convert_to_tensor(variable.value).numpy()  # mirrored ones cannot be read as arrays


def _mask(values, sparsity):
    """False for the smallest magnitudes."""
    count = round(sparsity * values.size)
    kept = np.ones(values.size, bool)
    kept[np.argsort(np.abs(values), axis=None, kind="stable")[:count]] = False
    return kept.reshape(values.shape)
