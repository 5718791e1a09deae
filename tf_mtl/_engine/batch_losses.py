"""The tasks' losses on one micro-batch, divided by the label weights of the global batch."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from tf_mtl._engine.objectives import Objectives, TaskLabels
from tf_mtl._engine.replicas import per_replica_share, replica_sum
from tf_mtl._engine.training_pass import TrainingPass
from tf_mtl._shapes import match_rank

_Compared: TypeAlias = "tuple[BatchLosses, Mapping[str, tf.Tensor]]"


class BatchLosses:
    """One micro-batch with its contribution to the global losses.

    The contributions of all replicas, and of all micro-batches of each, sum to the losses of the global batch; so do
    their gradients.

    Args:
        objectives: The losses in force.
        x: The inputs.
        labels: The labels and weights by task.
        forward: The forward pass.
        first: Index of the first row in the global batch.
        pieces: The number of micro-batches that the batch is split into.

    Attributes:
        x: The inputs.
        labels: The labels and weights by task.
        forward: The forward pass.
        loss_sums: sum(w * l) of each task over these rows, T scalars; set by `losses_and_penalty`, as are the others.
        slopes: The derivative of each loss by its sum, [T].
        weight_sums: sum(w) of each task over these rows, [T].
        penalty: The penalty, a scalar or None.
        learns: Which tasks learn from the global batch, [T]: see `Objectives.learns`.
    """

    def __init__(
        self,
        objectives: Objectives,
        x: Any,
        labels: TaskLabels,
        forward: TrainingPass,
        first: tf.Tensor | int = 0,
        pieces: int = 1,
    ):
        self._objectives = objectives
        self.x = x
        self.labels = labels
        self.forward = forward
        self._first, self._pieces = first, pieces
        self._half_weight_sums: tf.Tensor | None = None
        self._before: list[_Compared] = []
        self._after: list[_Compared] = []
        self.loss_sums: list[tf.Tensor] = []
        self.slopes: tf.Tensor | None = None
        self.weight_sums: tf.Tensor | None = None
        self.penalty: tf.Tensor | None = None
        self.learns: tf.Tensor | None = None

    def losses_and_penalty(self, outputs: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Return the contributions to the losses [T] and to the penalty, for the outputs of the training pass."""
        self.loss_sums, self.weight_sums = self._sums(outputs)
        self.penalty = self.forward.penalty()
        global_weight_sums = self._global(self.weight_sums)
        self.learns = self._objectives.learns(global_weight_sums)
        factors = self._objectives.factors()
        self.slopes = tf.math.divide_no_nan(factors, global_weight_sums)
        losses = tf.math.divide_no_nan(tf.stack(self.loss_sums), global_weight_sums) * factors
        return losses, None if self.penalty is None else per_replica_share(self.penalty) / self._pieces

    def losses(self, outputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return the contributions to the losses [T] for other outputs; no attribute changes."""
        loss_sums, weight_sums = self._sums(outputs)
        return tf.math.divide_no_nan(tf.stack(loss_sums), self._global(weight_sums)) * self._objectives.factors()

    def bad_rows(self, outputs: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor | int, tf.Tensor]:
        """Return the global index of the first row, and which rows have a loss that is not finite, [T, B]."""
        return self._first, self._objectives.bad_rows(self.labels, outputs)

    def half_loss_sums(self, outputs: Mapping[str, tf.Tensor]) -> tuple[list[list[tf.Tensor]], tf.Tensor]:
        """Split the sums by the rows' indices in the global batch, even and odd.

        Returns:
            sum(w * l) of each task over either half, and the factors [2, T] that turn a half's contribution to the
            losses into the mean over the half's own labels.
        """
        loss_sums, weight_sums = self._half_sums(outputs)
        weight_sums = replica_sum(weight_sums) if self._half_weight_sums is None else self._half_weight_sums
        return loss_sums, tf.math.divide_no_nan(tf.reduce_sum(weight_sums, 0), weight_sums)

    def half_weight_sums(self, outputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return sum(w) of each task over the rows with even indices and over those with odd ones, [2, T]."""
        return self._half_sums(outputs)[1]

    def set_global_weights(self, half_weight_sums: tf.Tensor) -> None:
        """Set the sum of `half_weight_sums` over all micro-batches and replicas.

        Without it the micro-batch counts as the whole batch, whose weights are summed over the replicas when needed.
        """
        self._half_weight_sums = half_weight_sums

    def set_compared(self, before: Sequence[_Compared], after: Sequence[_Compared]) -> None:
        """Set the micro-batches of this replica around this one, with their outputs, for losses that compare rows."""
        if self._objectives.compare_rows:
            self._before, self._after = list(before), list(after)

    def _sums(self, outputs, half=None):
        """sum(w * l) and sum(w) of each task over all rows, or over those with even (0) or odd (1) indices."""
        before, after = (
            [batch._objectives.compared_rows(batch._labels_of(half, outputs), outputs) for batch, outputs in part]
            for part in (self._before, self._after)
        )
        return self._objectives.loss_sums(self._labels_of(half, outputs), outputs, before, after)

    def _half_sums(self, outputs):
        halves = [self._sums(outputs, half) for half in (0, 1)]
        loss_sums, weight_sums = zip(*halves, strict=True)
        return list(loss_sums), tf.stack(weight_sums)

    def _global(self, weight_sums):
        return replica_sum(weight_sums) if self._half_weight_sums is None else tf.reduce_sum(self._half_weight_sums, 0)

    def _labels_of(self, half, outputs):
        """The labels, with weight 0 in the rows of the other half, if one is given."""
        if half is None:
            return self.labels
        indices = self._first + tf.range(tf.shape(next(iter(outputs.values())))[0])
        rows = tf.cast(indices % 2 == half, tf.float32)
        return {
            task: (y, rows if weight is None else weight * match_rank(rows, len(weight.shape)))
            for task, (y, weight) in self.labels.items()
        }
