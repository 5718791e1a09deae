"""How often all tasks of a row are right."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tf_mtl._shapes import match_rank


@keras.saving.register_keras_serializable("tf_mtl")
class FrameAccuracy(keras.metrics.Metric):
    """Share of rows of which every task is right, and every labelled word: sentence or semantic-frame accuracy.

    For `compile(joint_metrics=[...])`, which gives it the labels and predictions of all tasks. Rows count that have a
    label for each of its tasks, all with the same weight; words without a label do not matter.

    Args:
        tasks: The tasks, of classes or tags: their labels are indices and their outputs scores, or they are yes or no
            and their outputs logits.
        name: Name of the metric.
        dtype: Of the result.

    Example:

    >>> metric = mtl.metrics.FrameAccuracy(["intent", "slots"])
    >>> labels = {"intent": (np.array([1, 0]), None), "slots": (np.array([[0, 2], [1, 1]]), None)}
    >>> metric.update_state(labels, {"intent": np.eye(2)[[1, 0]], "slots": np.eye(3)[[[0, 2], [1, 0]]]})
    >>> float(metric.result())
    0.5

    Reference: Goo et al., "Slot-gated modeling for joint slot filling and intent prediction", NAACL 2018.
    """

    def __init__(self, tasks: Sequence[str], name: str = "frame_accuracy", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.tasks = list(tasks)
        self.right = self.add_variable((), "zeros", name="right")
        self.rows = self.add_variable((), "zeros", name="rows")

    def update_state(self, labels, predictions):
        """Add a batch of `{task: (y, weight or None)}` and `{task: prediction}`."""
        found = [_right_and_labelled(*labels[task], predictions[task]) for task in self.tasks]
        right, labelled = (tf.reduce_all(tf.stack(parts), 0) for parts in zip(*found, strict=True))
        self.right.assign_add(tf.reduce_sum(tf.cast(right & labelled, self.right.dtype)))
        self.rows.assign_add(tf.reduce_sum(tf.cast(labelled, self.rows.dtype)))

    def result(self):
        """Return the share."""
        return tf.math.divide_no_nan(tf.convert_to_tensor(self.right), tf.convert_to_tensor(self.rows))

    def get_config(self):
        return {**super().get_config(), "tasks": self.tasks}


def _right_and_labelled(y, weight, prediction):
    """Of each row, whether all its labels are met, and whether it has one."""
    y, prediction = tf.cast(y, tf.float32), tf.convert_to_tensor(prediction)
    if prediction.shape[-1] == 1 or (y.shape.rank == prediction.shape.rank and y.shape[-1] == prediction.shape[-1]):
        found = tf.cast(prediction > 0, tf.float32)
    else:
        found = tf.cast(tf.argmax(prediction, -1), tf.float32)
    met = tf.reshape(y, tf.shape(found)) == found
    counted = tf.ones_like(met) if weight is None else match_rank(weight > 0, met.shape.rank) & tf.ones_like(met)
    axes = list(range(1, met.shape.rank))
    return tf.reduce_all(met | ~counted, axes), tf.reduce_any(counted, axes)
