"""Whether the values of a batch keep the tasks' rules: one quick test in the graph, and exact rules in NumPy.

Almost every batch keeps all rules, so a pipeline computes one flag per batch, from few operations on stacked tasks.
Only where the flag is set are the rules worked out. The flag may be set without need, as when a sum overflows; it is
never unset where a rule is broken.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._assertions import MARK
from tf_mtl._pipeline.labels import LabelSpec, Rules, weight_of
from tf_mtl._shapes import match_rank


def check_values(x: Any, y: Any, weight: Any, rules: Rules) -> None:
    """Raise unless a batch, or whole arrays, keep all rules.

    Raises:
        ValueError: for tensors that differ in rows, or hold values that the tasks do not allow.
    """
    specs = rules.specs
    _check_rows({name: leaf.shape[0] for name, leaf in _named_leaves(x, y, weight, specs).items()})
    if rules.finite_inputs:
        _check_inputs({name: _array(leaf) for name, leaf in _floats(x).items()})
    for spec in specs:
        w = weight_of(spec.task, weight)
        _check_labels(spec, _array(y[spec.task]), None if w is None else _array(w))


def check_known_rows(x: Any, y: Any, weight: Any, rules: Rules) -> None:
    """Raise if tensors, or the specs of tensors, are known to differ in rows.

    Raises:
        ValueError: naming two of them.
    """
    rows = {name: leaf.shape[0] for name, leaf in _named_leaves(x, y, weight, rules.specs).items() if leaf.shape.rank}
    _check_rows({name: size for name, size in rows.items() if size is not None})


def checked(x: Any, y: Any, weight: Any, rules: Rules) -> Any:
    """Return `x` of a batch in a graph, as tensors that cannot be computed where the batch breaks a rule.

    The failure is an `InvalidArgumentError` that `readable_errors` turns into that of `check_values`.
    """
    specs = rules.specs
    check_known_rows(x, y, weight, rules)
    names, rows = _count_rows(_named_leaves(x, y, weight, specs))
    rule = f"{MARK}All of {names} must have equally many rows. Received:"
    same_rows = tf.raw_ops.Assert(condition=tf.reduce_all(rows == rows[0]), data=[rule, rows], summarize=len(names))
    with tf.control_dependencies([same_rows]):  # since tasks that differ in rows cannot be stacked
        groups = _stacked(y, weight, specs)
        floats = _floats(x) if rules.finite_inputs else {}

        def check(*arrays):
            _check_inputs(dict(zip(floats, arrays, strict=False)))
            labels, weights = arrays[len(floats) : len(floats) + len(groups)], arrays[len(floats) + len(groups) :]
            for group, y, w in zip(groups, labels, weights, strict=True):
                for index, spec in enumerate(group.specs):
                    _check_labels(spec, y[index], w[index] if w.size else None)

        flags = [tf.constant(False), *map(_is_not_finite, floats.values())]
        flags += [flag for group in groups for flag in _flags(group)]
        without = tf.zeros([0])
        tensors = [*floats.values(), *(g.labels for g in groups)]
        tensors += [without if g.weights is None else g.weights for g in groups]
        passes = _check_if(tf.reduce_any(tf.stack(flags)), check, tensors)
    with tf.control_dependencies([passes]):
        return tf.nest.map_structure(tf.identity, x, expand_composites=True)


class _Group(NamedTuple):
    """Tasks whose labels keep the same rules, with labels and label weights [tasks, rows, ...]."""

    specs: list[LabelSpec]
    labels: tf.Tensor
    weights: tf.Tensor | None


def _stacked(y, weight, specs) -> list[_Group]:
    """Group tasks with like rules, labels and weights; one whose length is unknown is alone."""
    alike = defaultdict(list)
    for spec in specs:
        labels, w = y[spec.task], weight_of(spec.task, weight)
        shapes = tuple(labels.shape[1:]), None if w is None else tuple(w.shape[1:])
        alone = spec.task if None in shapes[0] or None in (shapes[1] or ()) else None
        limits = type(spec), spec.largest(labels.shape), spec.integers, spec.ignored, spec.variant
        alike[*limits, labels.dtype, *shapes, alone].append(spec)
    groups = []
    for group in alike.values():
        weights = [weight_of(spec.task, weight) for spec in group]
        is_weighted = weights[0] is not None
        stacked = tf.stack([tf.cast(w, tf.float32) for w in weights]) if is_weighted else None
        groups.append(_Group(group, tf.stack([y[spec.task] for spec in group]), stacked))
    return groups


def _flags(group):
    """Yield flags, some of which are set where labels or weights of a group break a rule."""
    spec, labels, counts = group.specs[0], group.labels, group.weights
    if counts is not None:
        yield _is_not_finite(counts)
        yield tf.reduce_any(counts < 0)
        counts = match_rank(counts, len(labels.shape))
    is_floating, shape, labels = labels.dtype.is_floating, tf.shape(labels), tf.cast(labels, tf.float32)
    if spec.largest(shape) is not None:
        inside = spec.allows(labels, shape)
        if spec.ignored is not None:
            inside |= labels == spec.ignored
        yield ~tf.reduce_all(inside if counts is None else inside | ~(counts > 0))
    elif is_floating:
        yield _is_not_finite(labels if counts is None else tf.math.multiply_no_nan(labels, counts))


def _is_not_finite(values):
    return ~tf.math.is_finite(tf.reduce_sum(tf.cast(values, tf.float32)))


def _check_if(flag: tf.Tensor, check: Callable[..., None], tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Return an op that calls `check` with the tensors' values if the flag is set, and fails if `check` raises."""

    def marked(*arrays):
        try:
            check(*arrays)
        except ValueError as error:
            raise ValueError(f"{MARK}{error}") from None
        return True

    return tf.cond(flag, lambda: tf.numpy_function(marked, tensors, tf.bool), lambda: tf.constant(True))


def _named_leaves(x, y, weight, specs) -> dict[str, Any]:
    """All tensors of a batch, by the names that messages use."""
    leaves = {_input_name(path): leaf for path, leaf in keras.tree.flatten_with_path(x)}
    for spec in specs:
        w = weight_of(spec.task, weight)
        leaves |= {f"y['{spec.task}']": y[spec.task]} | ({} if w is None else {f"sample_weight['{spec.task}']": w})
    return leaves


def _floats(x):
    """The values of inputs that are floats, by the names that messages use."""
    leaves = {_input_name(path): leaf for path, leaf in keras.tree.flatten_with_path(x)}
    return {name: _values(leaf) for name, leaf in leaves.items() if tf.as_dtype(leaf.dtype).is_floating}


def _input_name(path):
    return "x" + "".join(f"[{key!r}]" for key in path)


def _values(leaf):
    """The values that a dense, ragged or sparse tensor holds."""
    if isinstance(leaf, tf.RaggedTensor):
        return leaf.flat_values
    return leaf.values if isinstance(leaf, tf.SparseTensor) else leaf


def _array(leaf):
    return keras.ops.convert_to_numpy(_values(leaf))


def _count_rows(leaves: Mapping[str, Any]) -> tuple[list[str], tf.Tensor]:
    """Return names of tensors and their numbers of rows, in few operations."""
    names, counts, alike = [], [], defaultdict(list)
    for name, leaf in leaves.items():
        if isinstance(leaf, tf.Tensor):
            alike[leaf.dtype, leaf.shape.rank].append(name)
        else:
            names.append(name)
            counts.append(leaf.nrows() if isinstance(leaf, tf.RaggedTensor) else leaf.dense_shape[0])
    counts = [tf.cast(tf.stack(counts), tf.int32)] if counts else []
    for group in alike.values():
        names += group
        counts.append(tf.stack(tf.shape_n([leaves[name] for name in group]))[:, 0])
    return names, tf.concat(counts, 0)


def _check_rows(rows: Mapping[str, int]) -> None:
    for name in rows:
        first = min(rows, key=lambda name: not name.startswith("x"))
        if rows[name] != rows[first]:
            raise ValueError(f"`{name}` must have as many rows as `{first}`, {rows[first]}. Received: [{rows[name]}].")


def _check_inputs(floats: Mapping[str, np.ndarray]) -> None:
    for name, x in floats.items():
        rule = f"`{name}` must not hold NaN or infinity. Fill or drop such rows, or compile with check_inputs=False."
        _raise(~np.isfinite(x), x, rule)


def _check_labels(spec: LabelSpec, y: np.ndarray, weight: np.ndarray | None) -> None:
    for violation in spec.violations(y, weight):
        _raise(*violation)


def _raise(wrong, values, rule):
    if wrong.any():
        raise ValueError(f"{rule} Received: {values[wrong][:6].tolist()}.")
