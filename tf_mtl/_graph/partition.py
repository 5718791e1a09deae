"""Which variables tasks share and which are a task's own, read off the functional graph."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
from keras.src.ops import core

from tf_mtl._optional_inputs import OptionalInputs
from tf_mtl.layers._stop_gradient import StopGradient

_STOPS = (StopGradient, core.StopGradient)  # what lies before them is not trained by what lies after them


@dataclass(frozen=True)
class Partition:
    """The variables of a model by the tasks whose outputs they reach.

    Attributes:
        inputs: The model's symbolic inputs, in the structure it was built with.
        outputs: Its symbolic outputs by task.
        shared: Variables that reach the outputs of two tasks or more.
        sharers: For each of `shared`, the tasks whose outputs it reaches.
        own: For each task, the variables that reach only its output.
        tied: Those of `shared` that a task's own part uses as well, such as an embedding table that is also the output
            projection of a task.
        nested: Own variables inside nested models that several tasks read, so before the frontier.
        frontier: Symbolic float tensors that leave the shared part of the graph and depend on shared variables.
        readers: For each of `frontier`, the tasks whose own parts read it.
        crossing: Other symbolic tensors that the tasks' own parts read: inputs, masks.
    """

    inputs: Any
    outputs: dict[str, keras.KerasTensor]
    shared: tuple[keras.Variable, ...]
    sharers: tuple[tuple[str, ...], ...]
    own: dict[str, tuple[keras.Variable, ...]]
    tied: tuple[keras.Variable, ...]
    nested: tuple[keras.Variable, ...]
    frontier: tuple[keras.KerasTensor, ...]
    readers: tuple[frozenset[str], ...]
    crossing: tuple[keras.KerasTensor, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Task names, in the order of the model's outputs."""
        return tuple(self.outputs)

    @cached_property
    def submodels(self) -> tuple[keras.Model, keras.Model]:
        """The shared part, from the inputs to `[*frontier, *crossing]`, and the tasks' own part, from there on."""
        between = [*self.frontier, *self.crossing]
        outputs = {task: output for task, output in self.outputs.items() if task not in self.shared_outputs}
        return OptionalInputs(self.inputs, between), keras.Model(between, outputs)

    def outputs_of(self, tensors: Sequence[Any]) -> dict[str, Any]:
        """Return the outputs by task, in training mode, from those of the shared part."""
        _, own_part = self.submodels
        outputs = own_part(tensors, training=True)
        return outputs | {task: tensors[index] for task, index in self.shared_outputs.items()}

    @property
    def shared_outputs(self) -> dict[str, int]:
        """Tasks whose output another task reads, with the output's index in `[*frontier, *crossing]`."""
        index = {id(x): i for i, x in enumerate([*self.frontier, *self.crossing])}
        return {task: index[id(output)] for task, output in self.outputs.items() if id(output) in index}

    def check_shared(self, asked_by: str) -> None:
        """Raise if the tasks share no trainable variable.

        Raises:
            ValueError: naming `asked_by`, the method that needs shared variables.
        """
        if not any(v.trainable for v in self.shared):
            raise ValueError(
                f"balancing={asked_by!r} balances the gradients of variables that tasks share, but nothing "
                f"trainable is shared by two of the tasks {list(self.tasks)}. Share an encoder between them, "
                "or use balancing='equal'."
            )


def partition(model: keras.Model, tasks: Collection[str] | None = None) -> Partition:
    """Find the shared and the own variables of a functional model with a dict of outputs.

    A variable is a task's own if it reaches the output of that task only, and shared if it reaches two or more. That
    includes layers called several times, variables used by several layers (tied weights), and layers inside nested
    functional models. What a task reads without gradients does not count, be it by `keras.ops.stop_gradient` or by
    `Task(after_gradients=False)`.

    Args:
        model: A functional model whose output is a dict `{task: tensor}`.
        tasks: The tasks to consider; all by default.

    Returns:
        The `Partition`.

    Example:

    >>> x = keras.Input((4,))
    >>> h = keras.layers.Dense(8, name="encoder")(x)
    >>> heads = {name: keras.layers.Dense(1, name=name)(h) for name in ("a", "b")}
    >>> parts = mtl.partition(keras.Model(x, heads))
    >>> [v.path for v in parts.shared]
    ['encoder/kernel', 'encoder/bias']
    >>> [v.path for v in parts.own["a"]]
    ['a/kernel', 'a/bias']
    """
    outputs = {task: output for task, output in model.output.items() if tasks is None or task in tasks}
    nodes: dict[int, Any] = {}
    reached_by: dict[int, set[str]] = {}
    for task, output in outputs.items():
        for node in _ancestors(output, model.inputs):
            nodes[id(node)] = node
            reached_by.setdefault(id(node), set()).add(task)

    tasks_of: dict[int, set[str]] = {}
    for task, output in outputs.items():
        for variable in _variables(output, model.inputs):
            tasks_of.setdefault(id(variable), set()).add(task)
    in_shared_part: set[int] = set()
    in_own_parts: set[int] = set()
    for key, node in nodes.items():
        part = in_shared_part if len(reached_by[key]) > 1 else in_own_parts
        part.update(id(v) for v in getattr(node.operation, "variables", ()))

    variables = [v for v in model.variables if id(v) in tasks_of]
    shared = tuple(v for v in variables if len(tasks_of[id(v)]) > 1)
    own = {task: tuple(v for v in variables if tasks_of[id(v)] == {task}) for task in outputs}
    frontier, crossing = _frontier(outputs, nodes, reached_by)
    return Partition(
        inputs=model.input,
        outputs=outputs,
        shared=shared,
        sharers=tuple(tuple(task for task in outputs if task in tasks_of[id(v)]) for v in shared),
        own=own,
        tied=tuple(v for v in shared if id(v) in in_own_parts),
        nested=tuple(v for variables in own.values() for v in variables if id(v) in in_shared_part),
        frontier=frontier,
        readers=tuple(_readers(tensor, outputs, nodes, reached_by) for tensor in frontier),
        crossing=crossing,
    )


def _ancestors(output, inputs) -> list[Any]:
    """The nodes that `output` trains, each after the nodes it reads."""
    given = {id(x) for x in inputs}
    ordered: list[Any] = []
    seen: set[int] = set()
    stack = [(_node(output), False)]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            ordered.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            if not isinstance(node.operation, _STOPS):
                stack.extend((_node(x), False) for x in node.input_tensors if id(x) not in given)
    return ordered


def _variables(output, inputs) -> list[keras.Variable]:
    """The variables that `output` depends on, and of a nested functional model those that its output depends on."""
    variables: list[keras.Variable] = []
    seen = {id(x) for x in inputs}
    stack = [output]
    while stack:
        tensor = stack.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        operation, _, index = tensor._keras_history
        if isinstance(operation, keras.Model) and hasattr(operation, "operations"):
            variables += _variables(operation.outputs[index], operation.inputs)
        else:
            variables += getattr(operation, "variables", ())
        if not isinstance(operation, _STOPS):
            stack += _node(tensor).input_tensors
    return variables


def _node(tensor):
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]


def _frontier(outputs, nodes, reached_by):
    """The tensors that cross from the shared part into the tasks' own parts: differentiable ones, and others."""
    is_shared = {key: len(tasks) > 1 for key, tasks in reached_by.items()}
    trains: dict[int, bool] = {}
    for key, node in nodes.items():
        trains[key] = bool(getattr(node.operation, "trainable_variables", ())) or any(
            trains.get(id(_node(x)), False) for x in node.input_tensors
        )

    def leaves(tensor) -> bool:
        key = id(_node(tensor))
        return key not in is_shared or is_shared[key]

    read = [x for key, node in nodes.items() if not is_shared[key] for x in node.input_tensors]
    read += list(outputs.values())
    crossing = list({id(x): x for x in read if leaves(x)}.values())
    frontier = [x for x in crossing if trains.get(id(_node(x)), False) and keras.backend.is_float_dtype(x.dtype)]
    differentiable = {id(x) for x in frontier}
    return tuple(frontier), tuple(x for x in crossing if id(x) not in differentiable)


def _readers(tensor, outputs, nodes, reached_by) -> frozenset[str]:
    """The tasks whose own parts read a tensor of the frontier, or whose output it is."""
    reading = [key for key, node in nodes.items() if any(x is tensor for x in node.input_tensors)]
    own = {task for key in reading if len(reached_by[key]) == 1 for task in reached_by[key]}
    return frozenset(own | {task for task, output in outputs.items() if output is tensor})
