"""Functional models with optional inputs."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras


class OptionalInputs(keras.Model):
    """A functional model that may be called with a dict of inputs that lacks optional ones."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model, with None for optional inputs that are missing."""
        structure = self._inputs_struct
        if args and isinstance(args[0], Mapping) and isinstance(structure, Mapping):
            missing = {name for name, x in structure.items() if name not in args[0] and is_optional(x)}
            args = ({**args[0], **dict.fromkeys(missing)}, *args[1:]) if missing else args
        return super().__call__(*args, **kwargs)


def is_optional(x: Any) -> bool:
    """Return whether a symbolic tensor is an optional input."""
    layer = x._keras_history.operation if isinstance(x, keras.KerasTensor) else None
    return isinstance(layer, keras.layers.InputLayer) and layer.optional


def inputs_of(output: keras.KerasTensor, inputs: Mapping[str, keras.KerasTensor]) -> list[str]:
    """Return the names of the inputs that a symbolic tensor depends on, in their order."""
    stack, seen = [output], set()
    while stack:
        tensor = stack.pop()
        if id(tensor) not in seen:
            seen.add(id(tensor))
            operation, node_index, _ = tensor._keras_history
            stack += operation._inbound_nodes[node_index].input_tensors
    return [name for name, x in inputs.items() if id(x) in seen]


def make_optional(inputs: Any, names: Iterable[str]) -> None:
    """Make inputs of a dict optional, as `keras.models.clone_model` forgets to."""
    for name in names:
        if isinstance(inputs, Mapping) and name in inputs:
            inputs[name]._keras_history.operation.optional = True
