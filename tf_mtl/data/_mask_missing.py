"""Turn the markers of missing labels into label weights."""

import math
from collections.abc import Mapping

import keras
import tensorflow as tf

from tf_mtl._names import check_names
from tf_mtl._shapes import match_rank


def mask_missing(dataset: tf.data.Dataset, markers: Mapping[str, float]) -> tf.data.Dataset:
    """Give labels that equal their task's marker the label weight 0.

    Args:
        dataset: Rows or batches of (x, {task: y}) or (x, {task: y}, {task: weight}).
        markers: `{task: marker}`, such as `{"topic": -1, "intensity": float("nan")}`; tasks left out keep all
            their labels.

    Returns:
        A data set of (x, {task: y}, {task: weight}), weights float32. A weight has its labels' shape; where there
        were weights already, it is their product.

    Raises:
        TypeError: if the elements are not of that form.
        ValueError: for a task that has no labels in the data set, or a marker that whole numbers cannot hold.

    Example:

    >>> ds = tf.data.Dataset.from_tensor_slices((np.ones(3), {"topic": np.array([2, -1, 0])}))
    >>> [float(weight["topic"]) for x, y, weight in mtl.data.mask_missing(ds, {"topic": -1})]
    [1.0, 0.0, 1.0]
    """
    element = dataset.element_spec
    if not isinstance(element, tuple) or len(element) not in (2, 3) or not isinstance(element[1], Mapping):
        raise TypeError(
            f"`dataset` must give (x, {{task: y}}) or (x, {{task: y}}, {{task: weight}}), received {element}."
        )
    check_names("markers", markers, element[1], required=False)
    for task, marker in markers.items():
        if not element[1][task].dtype.is_floating and not float(marker).is_integer():
            raise ValueError(
                f"`markers['{task}']` is {marker}, but the labels are {element[1][task].dtype.name}, which cannot hold "
                "it. Give the number that stands for a missing label."
            )

    def mask(*row):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(row)
        found = {task: tf.ones(tf.shape(label)) for task, label in y.items()}
        for task, marker in markers.items():
            if not y[task].dtype.is_floating:
                missing = tf.equal(tf.cast(y[task], tf.int64), int(marker))
            else:
                missing = tf.math.is_nan(y[task]) if math.isnan(marker) else tf.equal(y[task], marker)
            found[task] = tf.cast(~missing, tf.float32)
        by_task = weight if isinstance(weight, Mapping) else dict.fromkeys(y, weight)
        for task, given in by_task.items():
            if given is not None:
                found[task] *= match_rank(tf.cast(given, tf.float32), len(found[task].shape))
        return x, y, found

    return dataset.map(mask, num_parallel_calls=tf.data.AUTOTUNE)
