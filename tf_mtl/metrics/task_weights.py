"""The weights that balancing gave the tasks, as a mean over steps."""

import keras
import tensorflow as tf


class TaskWeights(keras.metrics.Metric):
    """Mean of the weights [T] that a balancing method chose, over the steps since the last reset.

    Args:
        tasks: Task names.
    """

    def __init__(self, tasks: tuple[str, ...]):
        super().__init__(name="task_weights")
        self.tasks = tasks
        self.sums = self.add_variable((len(tasks) + 1,), "zeros", name="sums")

    def update_state(self, weights):
        """Add one step's weights, [T]."""
        self.sums.assign_add(tf.concat([tf.cast(weights, tf.float32), [1.0]], 0))

    def result(self):
        """Return a dict of `weight/<task>`."""
        sums = tf.convert_to_tensor(self.sums)
        means = tf.math.divide_no_nan(sums[:-1], sums[-1])
        return {f"weight/{task}": mean for task, mean in zip(self.tasks, tf.unstack(means), strict=True)}
