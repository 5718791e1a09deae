"""From the names of classes, as labels, to numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mtl._assertions import MARK
from tf_mtl._label_names import class_cells, class_indices, text
from tf_mtl._names import nearest
from tf_mtl._pipeline.labels import LabelSpec, has_strings, weight_of, with_rank


def with_numbers(y: Mapping[str, Any], weight: Any, specs: Sequence[LabelSpec]) -> dict[str, Any]:
    """Return labels, arrays or tensors in a graph, with class indices, or cells of 0 and 1, in place of names.

    Raises:
        ValueError: for a label that is not one of its task's names, unless its weight is 0.
    """
    return {**y} | {
        spec.task: _numbers(spec, y[spec.task], weight_of(spec.task, weight))
        for spec in specs
        if has_strings(y[spec.task])
    }


def _numbers(spec, names, weight):
    look_up = _cells if spec.lists else _indices
    if isinstance(names, np.ndarray):
        return look_up(spec, names, weight)
    if isinstance(names, tf.RaggedTensor):
        names = names.to_tensor("")
    if not tf.is_symbolic_tensor(names):
        return tf.constant(look_up(spec, names.numpy(), weight))
    without = tf.zeros([0])

    def marked(names, weight):
        try:
            return look_up(spec, names, weight if weight.size else None)
        except ValueError as error:
            raise ValueError(f"{MARK}{error}") from None

    dtype, shape = (tf.float32, [names.shape[0], *spec.shape]) if spec.lists else (tf.int32, names.shape)
    return tf.ensure_shape(tf.numpy_function(marked, [names, without if weight is None else weight], dtype), shape)


def _indices(spec, names, weight):
    indices = class_indices(names, spec.names)
    counted = True if weight is None else with_rank(np.asarray(weight), names.ndim) != 0
    unknown = np.flatnonzero((indices < 0) & counted)
    if len(unknown):
        _refuse(spec, [text(name) for name in names.ravel()[unknown].tolist()], "class indices, or names of classes")
    return np.maximum(indices, 0)


def _cells(spec, lists, weight):
    cells, unknown = class_cells(lists, spec.names)
    weights = np.ones([len(cells), 1]) if weight is None else np.reshape(weight, [len(cells), -1])
    examples = [name for names, row in zip(unknown, weights, strict=True) if row.any() for name in names]
    if examples:
        _refuse(spec, examples, "numbers, or lists of names of")
    return cells


def _refuse(spec, unknown, expected):
    names = list(spec.names)
    raise ValueError(
        f"`y['{spec.task}']` must hold {expected} {names}, where its weight is not 0."
        f"{nearest(str(unknown[0]), names)} Give missing labels the weight 0. Received: {unknown[:6]}."
    )
