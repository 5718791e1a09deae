"""The losses of a model's tasks over a data set, each over the rows that are labelled for it."""

import keras
import tensorflow as tf


class TaskLosses(keras.metrics.Metric):
    r"""Sums w * l and w of each task, and reports `<task>_loss`, their quotient, and `loss`.

    `loss` is $\sum_t \lambda_t L_t$ plus the mean of the penalties (regularizers, `add_loss`), with $\lambda$ the
    loss weights. Sums are exact for batches of different sizes and over replicas. A task without labelled rows reports
    0.

    Args:
        tasks: Task names.
        loss_weights: The factor of each task in `loss`.
    """

    def __init__(self, tasks: tuple[str, ...], loss_weights: list[float]):
        super().__init__(name="loss")
        self.tasks = tasks
        self.loss_weights = loss_weights
        self.sums = self.add_variable((2, len(tasks)), "zeros", "float32", name="sums")
        self.penalties = self.add_variable((2,), "zeros", "float32", name="penalties")

    def update_state(self, loss_sums, weight_sums, penalty=None):
        """Add sum(w * l), T scalars, sum(w), [T], and the batch's penalty, a scalar."""
        self.sums.assign_add(tf.stack([tf.stack(loss_sums), weight_sums]))
        if penalty is not None:
            self.penalties.assign_add(tf.stack([penalty, 1.0]))

    def result(self):
        """Return a dict of `loss` and every `<task>_loss`."""
        loss_sums, weight_sums = tf.unstack(tf.convert_to_tensor(self.sums))
        losses = tf.math.divide_no_nan(loss_sums, weight_sums)
        penalty, batches = tf.unstack(tf.convert_to_tensor(self.penalties))
        loss = tf.tensordot(losses, tf.constant(self.loss_weights), 1) + tf.math.divide_no_nan(penalty, batches)
        by_task = {f"{task}_loss": value for task, value in zip(self.tasks, tf.unstack(losses), strict=True)}
        return {"loss": loss, **by_task}
