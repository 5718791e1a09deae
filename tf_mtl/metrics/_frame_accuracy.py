"""How often the predictions of several tasks are all correct."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._shapes import match_rank


@keras.saving.register_keras_serializable("tf_mtl")
class FrameAccuracy(keras.metrics.Metric):
    """Fraction of rows for which all tasks are correct, in every labelled word: sentence or semantic-frame accuracy.

    Pass it to `compile(joint_metrics=[...])`, which calls it with the labels and predictions of all tasks. Only rows
    with a label for each of the metric's tasks count, all with the same weight. Words without a label are ignored.

    Args:
        tasks: Names of tasks that predict classes or tags. The labels are indices and the outputs are scores; for
            binary tasks, the labels are 0 or 1 and the outputs are logits.
        name: Name of the metric.
        dtype: The dtype of the result.

    Example:

    >>> metric = mtl.metrics.FrameAccuracy(["intent", "slots"])
    >>> labels = {"intent": (np.array([1, 0]), None), "slots": (np.array([[0, 2], [1, 1]]), None)}
    >>> metric.update_state(labels, {"intent": np.eye(2)[[1, 0]], "slots": np.eye(3)[[[0, 2], [1, 0]]]})
    >>> float(metric.result())
    0.5

    Reference: Goo et al., "Slot-gated modeling for joint slot filling and intent prediction", NAACL 2018.
    """

    _direction = "up"  # for callbacks with mode="auto"

    def __init__(self, tasks: Sequence[str], name: str = "frame_accuracy", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        self.tasks = list(tasks)
        self.right = self.add_variable((), "zeros", name="right")
        self.rows = self.add_variable((), "zeros", name="rows")

    def update_state(self, labels: Mapping[str, Any], predictions: Mapping[str, Any]) -> None:
        """Add a batch of `{task: (y, weight or None)}` and `{task: prediction}`."""
        by_task = []
        for task in self.tasks:
            y, weight = labels[task]
            by_task.append(_right_and_labelled(y, weight, predictions[task]))
        right, labelled = (tf.reduce_all(tf.stack(flags), 0) for flags in zip(*by_task, strict=True))
        self.right.assign_add(tf.reduce_sum(tf.cast(right & labelled, self.right.dtype)))
        self.rows.assign_add(tf.reduce_sum(tf.cast(labelled, self.rows.dtype)))

    def result(self) -> tf.Tensor:
        """Return the fraction of correct rows."""
        return tf.math.divide_no_nan(tf.convert_to_tensor(self.right), tf.convert_to_tensor(self.rows))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "tasks": self.tasks}


def _right_and_labelled(y: Any, weight: Any, prediction: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Whether all predictions of each row are right, and whether it has a label."""
    y, prediction = tf.cast(y, tf.float32), tf.convert_to_tensor(prediction)
    if prediction.shape[-1] == 1 or (y.shape.rank == prediction.shape.rank and y.shape[-1] == prediction.shape[-1]):
        predicted = tf.cast(prediction > 0, tf.float32)
    else:
        predicted = tf.cast(tf.argmax(prediction, -1), tf.float32)
    right = tf.reshape(y, tf.shape(predicted)) == predicted
    labelled = tf.ones_like(right)
    if weight is not None:
        labelled &= match_rank(weight > 0, right.shape.rank)
    axes = list(range(1, right.shape.rank))
    return tf.reduce_all(right | ~labelled, axes), tf.reduce_any(labelled, axes)
