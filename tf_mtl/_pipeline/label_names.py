"""From the names of classes, as labels, to class indices."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mtl._names import nearest
from tf_mtl._pipeline.assertions import MARK
from tf_mtl._pipeline.labels import LabelSpec, has_strings, weight_of, with_rank


def with_class_indices(y: Mapping[str, Any], weight: Any, specs: Sequence[LabelSpec]) -> dict[str, Any]:
    """Return labels, arrays or tensors in a graph, with class indices in place of names.

    Raises:
        ValueError: for a label that is not one of its task's names, unless its weight is 0.
    """
    return {**y} | {
        spec.task: _indices(spec, y[spec.task], weight_of(spec.task, weight))
        for spec in specs
        if has_strings(y[spec.task])
    }


def _indices(spec, names, weight):
    if isinstance(names, np.ndarray):
        return _looked_up(spec, names, weight)
    if not tf.is_symbolic_tensor(names):
        return tf.constant(_looked_up(spec, names.numpy(), weight))
    without = tf.zeros([0])

    def look_up(names, weight):
        try:
            return _looked_up(spec, names, weight if weight.size else None)
        except ValueError as error:
            raise ValueError(f"{MARK}{error}") from None

    indices = tf.numpy_function(look_up, [names, without if weight is None else weight], tf.int32)
    return tf.ensure_shape(indices, names.shape)


def _looked_up(spec, names, weight):
    index_of_name = {name: index for index, name in enumerate(spec.names)}
    given = [name.decode(errors="replace") if isinstance(name, bytes) else name for name in names.ravel().tolist()]
    indices = np.array([index_of_name.get(name, -1) for name in given], "int32").reshape(names.shape)
    counted = True if weight is None else with_rank(np.asarray(weight), names.ndim) != 0
    unknown = np.flatnonzero((indices < 0) & counted)
    if len(unknown):
        examples, names = [given[position] for position in unknown[:6]], list(spec.names)
        raise ValueError(
            f"`y['{spec.task}']` must hold class indices, or names of classes {names}, where its weight is not 0."
            f"{nearest(str(examples[0]), names)} Give missing labels the weight 0. Received: {examples}."
        )
    return np.maximum(indices, 0)
