"""The tasks' losses on one batch, as this replica's shares of those of the global batch."""

from collections.abc import Callable, Mapping

import tensorflow as tf

from tf_mtl._shapes import match_rank
from tf_mtl.objectives import Labels, Objectives
from tf_mtl.replicas import first_row, replica_sum, share


class BatchLosses:
    """Called with the model's outputs, returns the shares of the losses [T] and of the penalties, a scalar or None.

    The shares of all replicas add up to the losses of the global batch, and so do their gradients.

    Args:
        objectives: The losses in force.
        labels: The batch's labels and weights by task.
        penalty: Returns the sum of regularizers and `add_loss` terms of the last call of the model, or None.

    Attributes:
        sums: sum(w * l) and sum(w) of each task over this replica's rows, both [T], and the penalty; set by a call.
        labelled: Which tasks have a label in the global batch, [T]; set by a call.
    """

    def __init__(self, objectives: Objectives, labels: Labels, penalty: Callable[[], tf.Tensor | None]):
        self._objectives = objectives
        self._labels = labels
        self._penalty = penalty
        self.sums = None
        self.labelled = None

    def __call__(self, outputs: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor | None]:
        totals, counts = self._objectives.sums(self._labels, outputs)
        penalty, global_counts = self._penalty(), replica_sum(counts)
        self.sums = totals, counts, penalty
        self.labelled = global_counts > 0
        losses = tf.math.divide_no_nan(totals, global_counts) * self._factors()
        return losses, None if penalty is None else share(penalty)

    def shares(self, outputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return the shares of the losses [T] for other outputs, without taking notice."""
        totals, counts = self._objectives.sums(self._labels, outputs)
        return tf.math.divide_no_nan(totals, replica_sum(counts)) * self._factors()

    def halves(self, outputs: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Split the losses by the rows' numbers in the global batch, even and odd.

        Returns:
            This replica's shares of the parts [2, T] of the losses that the halves contribute, and the factors [2, T]
            that make each half's part the mean over its own labels.
        """
        rows = tf.shape(next(iter(outputs.values())))[0]
        odd = tf.cast((first_row(rows) + tf.range(rows)) % 2, tf.float32)
        found = [self._objectives.sums(self._only(rows), outputs) for rows in (1 - odd, odd)]
        totals, counts = (tf.stack(parts) for parts in zip(*found, strict=True))
        counts = replica_sum(counts)
        whole = tf.reduce_sum(counts, 0)
        parts = tf.math.divide_no_nan(totals, whole) * self._factors()
        return parts, tf.math.divide_no_nan(whole, counts)

    def _only(self, kept):
        """The labels with the weights of other rows set to 0."""
        return {
            task: (y, kept if weight is None else weight * match_rank(kept, len(weight.shape)))
            for task, (y, weight) in self._labels.items()
        }

    def _factors(self):
        return tf.constant(self._objectives.loss_weights)
