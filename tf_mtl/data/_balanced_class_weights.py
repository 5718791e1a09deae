"""Class weights that balance rare and frequent classes."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._label_names import class_indices
from tf_mtl._names import check_names


def balanced_class_weights(
    data: tf.data.Dataset | np.ndarray, labels: Sequence[str] | int, task: str | None = None
) -> dict[str, float]:
    r"""Return the weights with which all classes count the same in a loss, for the `class_weights` of a task.

    $$c_k = \frac{n}{K n_k}$$

    for $n_k$ labels of class $k$ among $n$, and $K$ classes that occur. Classes that do not occur are left out.

    Args:
        data: The labels, class indices or names; or a data set of rows or batches (x, {task: y}) or (x, {task: y},
            {task: weight}). Labels of weight 0 do not count.
        labels: The names of the classes, or their number, as in `Classification` and `Tagging`.
        task: The name of the task in a data set.

    Raises:
        ValueError: if the data set does not end, has no labels of the task, or has labels of other classes.

    Example:

    >>> topics = np.array(["news", "news", "news", "sport"])
    >>> weights = mtl.data.balanced_class_weights(topics, labels=["news", "sport"])
    >>> weights
    {'news': 0.6666666666666666, 'sport': 2.0}
    >>> task = mtl.tasks.Classification("topic", labels=["news", "sport"], class_weights=weights)
    """
    names = [str(index) for index in range(labels)] if isinstance(labels, int) else list(labels)
    counts = sum((_counts(y, weight, names) for y, weight in _labels(data, task)), np.zeros(len(names)))
    if not counts.any():
        raise ValueError(f"`data` must hold labels of the classes {names}, received none.")
    weights = counts.sum() / np.maximum(counts, 1) / np.count_nonzero(counts)
    return {name: float(w) for name, w, count in zip(names, weights, counts, strict=True) if count}


def _labels(data, task):
    """Yield the labels and their weights, None without weights."""
    if not isinstance(data, tf.data.Dataset):
        yield np.asarray(data), None
        return
    if int(data.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise ValueError("`data` must end, received an endless data set. Pass it before `repeat` or `mix`.")
    _, y, _ = keras.utils.unpack_x_y_sample_weight(data.element_spec)
    if task is None:
        raise ValueError(f"`task` must name the task in the data set, one of {list(y)}, received None.")
    check_names("task", [task], list(y), required=False)
    for element in data.map(lambda *row: row[1:]):
        y, weight = (*element, {})[:2]
        yield _array(y[task]), None if task not in weight else _array(weight[task])


def _array(values: Any) -> np.ndarray:
    return (values.flat_values if isinstance(values, tf.RaggedTensor) else values).numpy()


def _counts(y, weight, names):
    """The number of labels of each class; names that are empty, and indices below 0, are missing labels."""
    is_index = y.dtype.kind in "iufb"
    indices = y if is_index else class_indices(y, names)
    is_labelled = indices >= 0 if is_index else np.reshape([bool(name) for name in y.ravel().tolist()], y.shape)
    if weight is not None:
        is_labelled &= np.reshape(weight, weight.shape + (1,) * (indices.ndim - weight.ndim)) > 0
    unknown = y[is_labelled & ~((indices >= 0) & (indices < len(names)))]
    if unknown.size:
        raise ValueError(f"`data` must hold class indices or names of {names}, received {unknown[:4].tolist()}.")
    return np.bincount(indices[is_labelled].astype(int), minlength=len(names)).astype(float)
