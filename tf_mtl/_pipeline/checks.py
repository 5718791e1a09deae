"""Checks of the data before it reaches a training step, with messages that say what to do."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._pipeline.assertions import MARK
from tf_mtl._pipeline.forms import arrays
from tf_mtl._pipeline.label_names import with_class_indices
from tf_mtl._pipeline.labels import Rules, check_structure, weight_of
from tf_mtl._pipeline.prefetching import may_draw_ahead
from tf_mtl._pipeline.values import check_values, checked


def with_checks(data: tuple[Any, Any, Any], rules: Rules) -> tuple[Any, Any, Any]:
    """Return data whose batches are checked as they are read.

    Arrays are checked at once; a `tf.data.Dataset` by its element spec now and by its values in the pipeline, beside
    the training step; generators and `PyDataset`s batch by batch. Anything else is returned as it is.

    Args:
        data: (x, y, sample_weight), as Keras takes them: arrays, or a source of whole batches with None for the others.
        rules: What batches must keep.

    Raises:
        TypeError: if labels are not a dict.
        ValueError: for unknown or missing task names, wrong shapes or values, an empty data set.
    """
    x, y, weight = data
    if y is None:
        if isinstance(x, tf.data.Dataset):
            return _checked_dataset(x, rules), y, weight
        if isinstance(x, keras.utils.PyDataset):
            return _CheckedPyDataset(x, rules), y, weight
        if isinstance(x, Iterator):
            return (_checked_batch(batch, rules) for batch in x), y, weight
    return _checked_arrays(data, rules)


def _checked_batch(batch, rules):
    data = keras.utils.unpack_x_y_sample_weight(batch)
    return keras.utils.pack_x_y_sample_weight(*_checked_arrays(data, rules))


def _checked_arrays(data, rules):
    x, y, weight = arrays(data)
    if x is None or not all(hasattr(leaf, "shape") for leaf in keras.tree.flatten((x, y)) if leaf is not None):
        return x, y, weight
    rules = _check_labels(y, weight, rules)
    if any(leaf.shape[0] == 0 for leaf in keras.tree.flatten(x)):
        raise ValueError("`x` must have at least one row, received an empty array.")
    y = with_class_indices(y, weight, rules.specs)
    check_values(x, y, weight, rules)
    weights = {spec.task: weight_of(spec.task, weight) for spec in rules.specs}
    if all(w is None for w in weights.values()):
        return x, y, None
    ones = np.ones(keras.tree.flatten(x)[0].shape[0], "float32")
    for spec in rules.specs:
        if weights[spec.task] is None and not spec.mixes_rows:
            weights[spec.task] = ones
    return x, y, {task: w for task, w in weights.items() if w is not None}


def _check_labels(y, weight, rules):
    """Raise for labels of arrays or specs that do not fit; return the rules of the labels that count."""
    check_structure(y, weight, rules.specs)
    counting = [spec for spec in rules.specs if spec.counts]
    for spec in counting:
        spec.check_dtype(y[spec.task])
        shape, w = tf.TensorShape(y[spec.task].shape), weight_of(spec.task, weight)
        spec.check_shape(shape)
        if w is not None:
            spec.check_weight_shape(shape, tf.TensorShape(w.shape))
    return rules._replace(specs=counting)


class _CheckedPyDataset(keras.utils.PyDataset):
    """A `PyDataset` whose batches are checked when they are read."""

    def __init__(self, source, rules):
        super().__init__(source.workers, source.use_multiprocessing, source.max_queue_size)
        self.source, self.rules = source, rules

    @property
    def num_batches(self):
        return self.source.num_batches

    def __getitem__(self, index):
        return _checked_batch(self.source[index], self.rules)

    def on_epoch_begin(self):
        self.source.on_epoch_begin()

    def on_epoch_end(self):
        self.source.on_epoch_end()


def _checked_dataset(dataset, rules):
    element = dataset.element_spec
    if not isinstance(element, tuple) or len(element) not in (2, 3):
        raise TypeError(
            "A data set for training or evaluation must give (x, {task: y}) or (x, {task: y}, {task: weight}), "
            f"received elements of {element}."
        )
    if int(dataset.cardinality()) == 0:
        raise ValueError("The data set is empty: it must give at least one batch.")
    _, y, weight = keras.utils.unpack_x_y_sample_weight(element)
    return _CheckedDataset(dataset, _check_labels(y, weight, rules))


class _CheckedDataset(tf.data.Dataset):
    """The batches of a data set, checked as they are read; those that are skipped are not."""

    def __init__(self, source, rules):
        self.source, self.rules = source, rules
        self._dataset = _with_checked_values(source, rules)
        super().__init__(self._dataset._variant_tensor)

    @property
    def element_spec(self):
        return self._dataset.element_spec

    def skip(self, count, name=None):
        return _with_checked_values(self.source.skip(count), self.rules)

    def _inputs(self):
        return [self._dataset]


def _with_checked_values(dataset, rules):
    @tf.autograph.experimental.do_not_convert
    def check(*batch):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        y = with_class_indices(y, weight, rules.specs)
        return checked(x, y, weight, rules), y, *batch[2:]

    if may_draw_ahead(dataset):
        return dataset.map(check, num_parallel_calls=1).prefetch(tf.data.AUTOTUNE)
    return dataset.map(check)


@contextlib.contextmanager
def readable_errors() -> Iterator[None]:
    """Turn the failure of a check in the data pipeline into a `ValueError` with its message alone."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        failure = re.search(re.escape(MARK) + r"(.*Received:)\]? (\[[^]]*\])", str(error))
        if not failure:
            raise
        raise ValueError(f"{failure[1]} {failure[2]}.".replace("\\'", "'")) from None
