"""Class weights that balance rare and frequent classes."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._label_names import class_indices
from tf_mtl._names import check_names
from tf_mtl.tasks import Task


def balanced_class_weights(data: tf.data.Dataset | np.ndarray, task: Task) -> dict[str, float]:
    r"""Return the weights with which all classes of a task count the same in its loss, for its `class_weights`.

    $$c_k = \frac{n}{K n_k}$$

    for $n_k$ labels of class $k$ among $n$, and $K$ classes that occur. Classes that do not occur are left out.

    Args:
        data: The training data, a data set of rows or batches (x, {task: y}) or (x, {task: y}, {task: weight}), or the
            task's labels alone. Labels are class indices or names. Those of weight 0 do not count.
        task: A task with one of several classes per label, such as `Classification` or `Tagging`.

    Raises:
        ValueError: if the data set does not end, has no labels of the task, or the task has no classes.

    Example:

    >>> task = mtl.tasks.Classification("topic", labels=["news", "sport"])
    >>> mtl.data.balanced_class_weights(np.array(["news", "news", "news", "sport"]), task)
    {'news': 0.6666666666666666, 'sport': 2.0}
    """
    if not task.labels or task.labels_are_lists:
        raise ValueError(f"`task` must have one of several classes per label, received '{task.name}', which has not.")
    counts = sum((_counts(y, weight, task) for y, weight in _labels(data, task.name)), np.zeros(len(task.labels)))
    if not counts.any():
        raise ValueError(f"`data` must hold labels of task '{task.name}', received none.")
    weights = counts.sum() / np.maximum(counts, 1) / np.count_nonzero(counts)
    return {label: float(w) for label, w, count in zip(task.labels, weights, counts, strict=True) if count}


def _labels(data, task):
    """Yield the labels and their weights, None without weights."""
    if not isinstance(data, tf.data.Dataset):
        yield np.asarray(data), None
        return
    if int(data.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise ValueError("`data` must end, received an endless data set. Pass it before `repeat` or `mix`.")
    _, y, _ = keras.utils.unpack_x_y_sample_weight(data.element_spec)
    check_names("data", [task], list(y), required=False)
    for element in data.map(lambda *row: row[1:]):
        y, weight = (*element, {})[:2]
        yield _array(y[task]), None if task not in weight else _array(weight[task])


def _array(values: Any) -> np.ndarray:
    return (values.flat_values if isinstance(values, tf.RaggedTensor) else values).numpy()


def _counts(y, weight, task):
    indices = y if y.dtype.kind in "iuf" else class_indices(y, task.labels)
    counted = (
        np.ones(indices.shape, bool)
        if weight is None
        else np.broadcast_to(
            np.reshape(weight, np.shape(weight) + (1,) * (indices.ndim - np.ndim(weight))) > 0, indices.shape
        )
    )
    indices = indices[counted & (indices >= 0)].astype(int)
    return np.bincount(indices, minlength=len(task.labels)).astype(float)
