"""How the tasks were balanced, as means over steps."""

from itertools import combinations

import keras
import tensorflow as tf

from tf_mtl.balancing import Balancing

MAX_TASKS_WITH_COSINES = 4


class BalancingLog(keras.metrics.Metric):
    """Means over the steps since the last reset of what balancing saw and did.

    `weight/<task>` is the weight that a method gave a task; `cosine/<a>/<b>` the cosine of two tasks' gradients, for
    up to four tasks, over the steps in which both have a gradient; `conflict` the fraction of pairs of tasks whose
    cosine is negative. A method that gives a direction has no weights, and one that sees only losses no cosines.

    Args:
        tasks: Task names.
        weights: Whether the method gives weights.
        cosines: Whether the method sees gradients.
    """

    @classmethod
    def for_method(cls, method: Balancing, tasks: tuple[str, ...]) -> "BalancingLog | None":
        """Return the metric of what a method does; None for constant weights."""
        if method.weights_are_constant:
            return None
        return cls(tasks, weights=method.kind != "jacobian", cosines=method.kind != "losses")

    def __init__(self, tasks: tuple[str, ...], weights: bool, cosines: bool):
        super().__init__(name="balance")
        self.tasks = tasks
        size = len(tasks)
        self.weights = self.add_variable((size + 1,), "zeros", "float32", name="weights") if weights else None
        self.cosines = self.add_variable((2, size, size), "zeros", "float32", name="cosines") if cosines else None
        self.conflict = self.add_variable((2,), "zeros", "float32", name="conflict") if cosines else None

    def update_state(self, weights, gramian):
        """Add one step's weights [T] and Gramian [T, T]; either may be None where it is not counted."""
        if self.weights is not None:
            self.weights.assign_add(tf.concat([tf.cast(weights, tf.float32), [1.0]], 0))
        if self.cosines is not None and self.conflict is not None:
            norms = tf.sqrt(tf.nn.relu(tf.linalg.diag_part(gramian)))
            cosines = tf.math.divide_no_nan(gramian / tf.maximum(norms, 1e-30)[:, None], norms)
            valid = tf.cast((norms[:, None] > 0) & (norms > 0), tf.float32)
            valid = tf.linalg.band_part(valid, 0, -1) - tf.linalg.diag(tf.linalg.diag_part(valid))
            self.cosines.assign_add(tf.stack([valid * cosines, valid]))
            pairs = tf.reduce_sum(valid)
            in_conflict = tf.reduce_sum(valid * tf.cast(cosines < 0, tf.float32))
            fraction = tf.math.divide_no_nan(in_conflict, pairs)
            self.conflict.assign_add(tf.stack([fraction, tf.cast(pairs > 0, tf.float32)]))

    def result(self):
        """Return a dict of the means; 0 where nothing was counted."""
        results: dict[str, tf.Tensor] = {}
        if self.weights is not None:
            sums = tf.convert_to_tensor(self.weights)
            means = tf.math.divide_no_nan(sums[:-1], sums[-1])
            results |= {f"weight/{task}": mean for task, mean in zip(self.tasks, tf.unstack(means), strict=True)}
        if self.cosines is not None and self.conflict is not None:
            cosines = tf.math.divide_no_nan(*tf.unstack(tf.convert_to_tensor(self.cosines)))
            if len(self.tasks) <= MAX_TASKS_WITH_COSINES:
                pairs = combinations(enumerate(self.tasks), 2)
                results |= {f"cosine/{a}/{b}": cosines[i, j] for (i, a), (j, b) in pairs}
            results["conflict"] = tf.math.divide_no_nan(*tf.unstack(tf.convert_to_tensor(self.conflict)))
        return results
