"""The straight line from a baseline to the inputs of a model."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._model import MultiTaskModel
from tf_mtl._names import nearest
from tf_mtl.analysis._intercepted import intercepted
from tf_mtl.encoders import TabularEncoder


class PathPoint(NamedTuple):
    """What is measured at a point of the path.

    Attributes:
        output: The output there, [B].
        contributions: The output's gradient there times the whole way from the baseline to the inputs, by input.
    """

    output: np.ndarray
    contributions: dict[str, np.ndarray]


class _Embedded(NamedTuple):
    """What a layer made of ids: the difference from the zero vector, and the vector at a point of the path."""

    layer: keras.layers.Layer
    ids: Any
    difference: tf.Tensor
    vector: tf.Tensor


class Path:
    """The line from a baseline to inputs, on which float inputs move, and the vectors of embedded ones.

    Args:
        model: The model.
        function: From inputs to the output of each row, [B].
        specs: The specs of the inputs, in their structure.
        inputs: The inputs.
        baseline: The baseline of float inputs; None for 0.

    Raises:
        ValueError: for a baseline that does not fit the inputs.
    """

    def __init__(self, model: MultiTaskModel, function: Callable, specs: Any, inputs: Any, baseline: Any):
        self._function, self._specs = function, specs
        self._inputs = _by_name(specs, inputs)
        self._start = _start(self._inputs, {} if baseline is None else _by_name(specs, baseline))
        layers = model._flatten_layers(include_self=False)
        kinds = ((keras.layers.Embedding, "call"), (TabularEncoder, "embedded"))
        self._sites = [(layer, method) for layer in layers for kind, method in kinds if isinstance(layer, kind)]
        self._measure = tf.function(self._measured)
        self._ids: list[np.ndarray] = []

    def at(self, fraction: float) -> PathPoint:
        """Return what is measured at a fraction of the path, 0 at the baseline and 1 at the inputs."""
        output, of_inputs, of_embedded = self._measure(tf.constant(fraction, tf.float32))
        self._check_ids([ids for ids, _ in of_embedded])
        contributions = {name: np.asarray(x, "float64") for name, x in of_inputs.items()}
        for layer, (ids, values) in zip(self._embedding_layers, of_embedded, strict=True):
            for name, x in self._named(layer, ids, np.asarray(values, "float64")):
                contributions[name] = contributions.get(name, 0.0) + x
        return PathPoint(np.asarray(output, "float64"), contributions)

    def _measured(self, fraction):
        embedded: list[_Embedded] = []

        def at_point(layer, ids, vector):
            if isinstance(layer, keras.layers.Embedding) and len(vector.shape) == len(ids.shape):
                return vector  # the transposed table of a keras-hub embedding, not vectors of ids
            moved = tf.cast(fraction, vector.dtype) * vector
            tape.watch(moved)
            embedded.append(_Embedded(layer, ids, vector, moved))
            return moved

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            differences = {name: self._inputs[name] - start for name, start in self._start.items()}
            moved = {
                name: start + tf.cast(fraction, start.dtype) * differences[name] for name, start in self._start.items()
            }
            tape.watch(moved)
            with intercepted(self._sites, at_point):
                output = self._function(_packed(self._specs, {**self._inputs, **moved}))
        zero = tf.UnconnectedGradients.ZERO
        vectors = [each.vector for each in embedded]
        of_inputs, of_vectors = tape.gradient(output, (moved, vectors), unconnected_gradients=zero)
        self._embedding_layers = [each.layer for each in embedded]
        return (
            output,
            {name: differences[name] * gradient for name, gradient in of_inputs.items()},
            [
                (each.ids, tf.reduce_sum(tf.cast(each.difference * gradient, tf.float32), -1))
                for each, gradient in zip(embedded, of_vectors, strict=True)
            ],
        )

    def _check_ids(self, ids):
        """Raise if the path changes what is embedded."""
        ids = [np.asarray(each) for each in keras.tree.flatten(ids)]
        self._ids = self._ids or ids
        if not all(map(np.array_equal, self._ids, ids)):
            raise ValueError(
                "`model` must have inputs of integers where it embeds them, received floats, which have no gradient "
                'there. Build it with keras.Input(..., dtype="int32").'
            )

    def _named(self, layer, ids, values):
        """The contributions of ids by the inputs that hold them; by the layer's name, if not exactly one does."""
        if isinstance(layer, TabularEncoder):
            return [(column, values[:, i].reshape(ids[column].shape)) for i, column in enumerate(layer.categorical)]
        matches = [name for name, x in self._inputs.items() if np.array_equal(x, ids)]
        return [(matches[0] if len(matches) == 1 else layer.name, values)]


def _start(inputs, baseline):
    """The baseline of float inputs, by name."""
    floats = {name: x for name, x in inputs.items() if x.dtype.is_floating}
    unknown = next((name for name in baseline if name not in floats), None)
    if unknown is not None:
        raise ValueError(
            f"`baseline` must be that of float inputs, {list(floats)}, received '{unknown}'.{nearest(unknown, floats)}"
        )
    start = {}
    for name, x in floats.items():
        values = np.asarray(baseline.get(name, 0), x.dtype.as_numpy_dtype)
        try:
            start[name] = tf.constant(np.broadcast_to(values, x.shape))
        except ValueError as error:
            raise ValueError(
                f"`baseline` for '{name}' must fit the inputs of shape {x.shape}, received the shape {values.shape}."
            ) from error
    return start


def _by_name(specs, values):
    """Inputs by name: the keys of a dict, the names of others."""
    if isinstance(specs, Mapping):
        return dict(values)
    names = [spec.name for spec in keras.tree.flatten(specs)]
    return dict(zip(names, values if isinstance(specs, (list, tuple)) else [values], strict=True))


def _packed(specs, by_name):
    """Inputs by name, in the structure of their specs."""
    if isinstance(specs, Mapping):
        return by_name
    return keras.tree.pack_sequence_as(specs, [by_name[spec.name] for spec in keras.tree.flatten(specs)])
