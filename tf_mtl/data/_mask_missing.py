"""Label weights from the markers of missing labels."""

import math
from collections.abc import Mapping

import keras
import tensorflow as tf

from tf_mtl._names import check_names
from tf_mtl._shapes import match_rank


def mask_missing(dataset: tf.data.Dataset, markers: Mapping[str, float]) -> tf.data.Dataset:
    """Set the label weight to 0 where a label equals its task's marker.

    Args:
        dataset: Rows or batches of (x, {task: y}) or (x, {task: y}, {task: weight}).
        markers: `{task: marker}`, such as `{"topic": -1, "intensity": float("nan")}`; tasks without a marker keep all
            their labels, and have a weight only if the data set has one.

    Returns:
        A data set of (x, {task: y}, {task: weight}), weights float32 and of their labels' shape. Weights that the data
        set already has are multiplied by them. Where a label has several values, each has a weight, so a loss needs one
        value per weight: those of `MultiLabel`, `Regression` and `Tagging` have, `tf_mtl.losses.CellwiseSquaredError`
        replaces "mse".

    Raises:
        TypeError: if the elements are not of that form.
        ValueError: for a task that has no labels in the data set, or a fractional or NaN marker of integer labels.

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
                "it. Pass the integer that marks a missing label."
            )

    def mask(*row):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(row)
        weights = {}
        for task, marker in markers.items():
            if not y[task].dtype.is_floating:
                missing = tf.equal(tf.cast(y[task], tf.int64), int(marker))
            else:
                missing = tf.math.is_nan(y[task]) if math.isnan(marker) else tf.equal(y[task], marker)
            weights[task] = tf.cast(~missing, tf.float32)
        weight_by_task = weight if isinstance(weight, Mapping) else dict.fromkeys(y, weight)
        for task, label_weight in weight_by_task.items():
            if label_weight is not None and task in weights:
                weights[task] *= match_rank(tf.cast(label_weight, tf.float32), len(weights[task].shape))
            elif label_weight is not None:
                weights[task] = tf.cast(label_weight, tf.float32)
        return x, y, weights

    return dataset.map(mask, num_parallel_calls=tf.data.AUTOTUNE)
