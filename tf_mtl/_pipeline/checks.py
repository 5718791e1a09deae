"""Checks of the data before it reaches a training step, with messages that say what to do."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._pipeline.forms import arrays
from tf_mtl._pipeline.label_names import with_numbers
from tf_mtl._pipeline.labels import Rules, check_structure, weight_of
from tf_mtl._pipeline.own_inputs import with_own_inputs
from tf_mtl._pipeline.prefetching import may_draw_ahead
from tf_mtl._pipeline.values import check_known_rows, check_values, checked


def with_checks(data: tuple[Any, Any, Any], rules: Rules) -> tuple[Any, Any, Any]:
    """Return data whose batches are checked as they are read.

    Arrays are checked at once. A `tf.data.Dataset` is checked by its element spec, and becomes a `CheckedDataset`, with
    the check of its values. Generators and `PyDataset`s are checked batch by batch. Anything else is returned as it is.

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
    _refuse_lists("y", y)
    _refuse_lists("sample_weight", weight)
    if x is None or not all(hasattr(leaf, "shape") for leaf in keras.tree.flatten((x, y)) if leaf is not None):
        return x, y, weight
    rules = _check_labels(y, weight, rules)
    if any(leaf.shape[0] == 0 for leaf in keras.tree.flatten(x)):
        raise ValueError("`x` must have at least one row, received an empty array.")
    y = with_numbers(y, weight, rules.specs)
    check_values(x, y, weight, rules)
    x = with_own_inputs(x, y, weight, rules)
    weights = {spec.task: weight_of(spec.task, weight) for spec in rules.specs}
    if all(w is None for w in weights.values()):
        return x, y, None
    ones = np.ones(keras.tree.flatten(x)[0].shape[0], "float32")
    for spec in rules.specs:
        if weights[spec.task] is None and not spec.mixes_rows:
            weights[spec.task] = ones
    return x, y, {task: w for task, w in weights.items() if w is not None}


def _refuse_lists(argument, values):
    """Raise for lists of numbers or names in place of an array, as Keras does, but with a remedy."""
    for task, part in values.items() if isinstance(values, Mapping) else ():
        if isinstance(part, tuple):
            raise ValueError(
                f"`{argument}['{task}']` must be an array or tensor, received a list. Pass np.array(...), and lists of "
                "names that differ in length as tf.ragged.constant(...)."
            )


def _check_labels(y, weight, rules):
    """Raise for labels of arrays or specs that do not fit; return the rules of the labels that count."""
    check_structure(y, weight, rules.specs)
    counting = [spec for spec in rules.specs if spec.counts]
    for spec in counting:
        spec.check_dtype(y[spec.task])
        shape, w = spec.shape_of(y[spec.task]), weight_of(spec.task, weight)
        spec.check_shape(shape)
        if w is not None:
            spec.check_weight_shape(shape, tf.TensorShape(w.shape))
    return rules._replace(specs=tuple(counting))


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
    x, y, weight = keras.utils.unpack_x_y_sample_weight(element)
    rules = _check_labels(y, weight, rules)
    check_known_rows(x, y, weight, rules)
    return CheckedDataset(dataset, BatchCheck(rules))


@dataclass(frozen=True)
class BatchCheck:
    """A function from a batch in a graph to the same batch, which cannot be computed where it breaks a rule.

    Labels that are names become class indices, and inputs of the tasks' own are filled. Checks of the same rules are
    equal.
    """

    rules: Rules

    @tf.autograph.experimental.do_not_convert
    def __call__(self, batch: Any) -> Any:
        """Return the batch."""
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        y = with_numbers(y, weight, self.rules.specs)
        x = checked(x, y, weight, self.rules)
        return with_own_inputs(x, y, weight, self.rules), y, *batch[2:]


@dataclass(frozen=True)
class CheckedDataset:
    """The batches of a data set, and the check that they are still to pass.

    On a CPU, steps begin with the check: in a pipeline it would compete with the step before. On a GPU, a step would
    have to wait for its answer, so there the check belongs into the pipeline.
    """

    dataset: tf.data.Dataset
    check: BatchCheck

    def in_pipeline(self) -> tf.data.Dataset:
        """Return the batches, checked as they are read."""

        def check(*batch):
            return self.check(batch)

        if may_draw_ahead(self.dataset):
            return self.dataset.map(check, num_parallel_calls=1).prefetch(tf.data.AUTOTUNE)
        return self.dataset.map(check)
