"""The tasks' losses on one batch, as shares of those of the global batch."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tf_mtl._shapes import match_rank
from tf_mtl.objectives import Labels, Objectives
from tf_mtl.replicas import replica_sum, share


class BatchLosses:
    """Called with the model's outputs, returns the shares of the losses [T] and of the penalties, a scalar or None.

    The shares of all replicas, and of all micro-batches of each, add up to the losses of the global batch; so do their
    gradients.

    Args:
        objectives: The losses in force.
        x: The inputs.
        labels: The labels and weights by task.
        penalty: Returns the sum of regularizers and `add_loss` terms of the last call of the model, or None.
        first: The number of the first row in the global batch.
        pieces: The number of micro-batches, of which this is one.

    Attributes:
        x: The inputs.
        labels: The labels and weights by task.
        sums: sum(w * l) and sum(w) of each task over these rows, both [T], and the penalty; set by a call.
        labelled: Which tasks have a label in the global batch, [T]; set by a call.
    """

    def __init__(
        self,
        objectives: Objectives,
        x: Any,
        labels: Labels,
        penalty: Callable[[], tf.Tensor | None],
        first: tf.Tensor | int = 0,
        pieces: int = 1,
    ):
        self._objectives = objectives
        self.x = x
        self.labels = labels
        self._penalty = penalty
        self._first, self._pieces = first, pieces
        self._settled = None
        self.sums = None
        self.labelled = None

    def counts(self, outputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return sum(w) of each task over the rows with even numbers and over those with odd ones, [2, T]."""
        return self._of_halves(outputs)[1]

    def settle(self, counts: tf.Tensor) -> None:
        """Learn the sums of `counts` over all micro-batches and replicas; a batch that is one piece sums by itself."""
        self._settled = counts

    def __call__(self, outputs: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor | None]:
        totals, counts = self._objectives.sums(self.labels, outputs)
        penalty, global_counts = self._penalty(), self._global(counts)
        self.sums = totals, counts, penalty
        self.labelled = global_counts > 0
        losses = tf.math.divide_no_nan(totals, global_counts) * self._factors()
        return losses, None if penalty is None else share(penalty) / self._pieces

    def shares(self, outputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return the shares of the losses [T] for other outputs, without taking notice."""
        totals, counts = self._objectives.sums(self.labels, outputs)
        return tf.math.divide_no_nan(totals, self._global(counts)) * self._factors()

    def halves(self, outputs: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Split the losses by the rows' numbers in the global batch, even and odd.

        Returns:
            The shares of the parts [2, T] of the losses that the halves contribute, and the factors [2, T] that make
            each half's part the mean over its own labels.
        """
        totals, counts = self._of_halves(outputs)
        counts = replica_sum(counts) if self._settled is None else self._settled
        whole = tf.reduce_sum(counts, 0)
        parts = tf.math.divide_no_nan(totals, whole) * self._factors()
        return parts, tf.math.divide_no_nan(whole, counts)

    def _of_halves(self, outputs):
        rows = tf.shape(next(iter(outputs.values())))[0]
        odd = tf.cast((self._first + tf.range(rows)) % 2, tf.float32)
        found = [self._objectives.sums(self._only(rows), outputs) for rows in (1 - odd, odd)]
        return [tf.stack(parts) for parts in zip(*found, strict=True)]

    def _global(self, counts):
        return replica_sum(counts) if self._settled is None else tf.reduce_sum(self._settled, 0)

    def _only(self, kept):
        """The labels with the weights of other rows set to 0."""
        return {
            task: (y, kept if weight is None else weight * match_rank(kept, len(weight.shape)))
            for task, (y, weight) in self.labels.items()
        }

    def _factors(self):
        return tf.constant(self._objectives.loss_weights)
