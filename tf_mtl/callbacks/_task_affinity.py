"""Measure during training how steps for one task change the losses of the others."""

import itertools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl.analysis import Affinity
from tf_mtl.analysis._affinity import Affinities, checked_update


class TaskAffinity(keras.callbacks.Callback):
    """Measures the tasks' affinities on a batch every so many steps, and averages them over training.

    `result()` returns the averages: how much a step for each task reduces the losses of the others, and how far their
    gradients agree in each layer; see `tf_mtl.analysis.affinity` for formulas, costs and limits. A measurement does not
    change the model. At the end of training, a warning names pairs of tasks that label less than 30% of their rows in
    common, whose affinities mostly reflect which rows they have (arXiv 2604.07848).

    Args:
        batches: The batches to measure on, one after the other and from the beginning again: a data set of batches
            (x, {task: y}, {task: weight}), or a list of them.
        every: The number of steps between measurements.
        update: "gradient", "optimizer" or "first_order"; see `tf_mtl.analysis.affinity`.

    Raises:
        ValueError: if `every` is not a positive integer, for an unknown `update`, or no batches.

    Example:

    >>> tasks = [mtl.tasks.Regression(name) for name in ("a", "b")]
    >>> model = mtl.build_model(keras.Input((4,)), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8])), tasks)
    >>> model.compile("sgd")
    >>> x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
    >>> batch = x, {"a": x[:, 0], "b": x[:, 0]}
    >>> affinity = mtl.callbacks.TaskAffinity([batch], every=2)
    >>> history = model.fit(*batch, batch_size=8, epochs=2, verbose=0, callbacks=[affinity])
    >>> affinity.measurements, affinity.result().matrix.shape
    (4, (2, 2))
    """

    def __init__(self, batches: Sequence[Any] | tf.data.Dataset, every: int, update: str = "gradient"):
        super().__init__()
        self._batches, self._every, self._update = batches, integer("every", every, 1), checked_update(update)
        self._affinities: Affinities | None = None
        self._source: Iterator[Any] | None = None
        self.steps = 0
        self.measurements = 0
        self.sums: list[np.ndarray] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Prepare the measurements of this model, after those of earlier calls of `fit`, if any."""
        self._affinities = Affinities(self.model, self._update)
        self._source = None
        self.steps = max(self.steps, self._iterations())
        self.sums = self.sums or self._affinities.empty()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure, if enough steps have passed."""
        steps = self._iterations()
        if self._affinities is not None and steps // self._every > self.steps // self._every:
            self.sums = self._affinities.add(self.sums, self._next_batch())
            self.measurements += 1
        self.steps = steps

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Warn of pairs with few common rows."""
        pairs = self.result().few_common_rows if self.measurements else []
        if pairs:
            names = ", ".join(f"'{one}' and '{other}'" for one, other in pairs)
            warnings.warn(
                f"The tasks {names} label less than 30% of their rows in common: their affinities mostly reflect which "
                "rows they have. Measure on rows with labels of both, or compare trained models.",
                stacklevel=2,
            )

    def result(self) -> Affinity:
        """Return the averages over all measurements so far.

        Raises:
            ValueError: before training.
        """
        if self._affinities is None:
            raise ValueError("`result` needs measurements: pass the callback to `fit` first.")
        return self._affinities.mean(self.sums)

    def _iterations(self):
        return int(tf.convert_to_tensor(self.model.optimizer.iterations.value))  # `int` cannot read mirrored variables

    def _next_batch(self):
        """The next of the batches; that which follows the measurements so far, if training was resumed."""
        if self._source is None:
            self._source = itertools.islice(_endless(self._batches), self.measurements, None)
        return next(self._source)


def _endless(batches):
    while True:
        is_empty = True
        for batch in batches:
            is_empty = False
            yield batch
        if is_empty:
            raise ValueError("`batches` must hold at least one batch, received none.")
