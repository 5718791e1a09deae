"""Which layers the tasks share, and how many parameters that saves."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import keras
import numpy as np

from tf_mtl._graph.heads import heads, tasks_read_by, without_own_inputs
from tf_mtl._graph.partition import partition
from tf_mtl._optional_inputs import is_optional
from tf_mtl.tasks import Task
from tf_mtl.trunks import Trunk


class SharedLayer(NamedTuple):
    """A layer, or a part of it, and who uses it.

    Attributes:
        layer: The layer's name.
        tasks: The tasks whose outputs it reaches.
        parameters: The number of parameters.
    """

    layer: str
    tasks: tuple[str, ...]
    parameters: int


@dataclass(frozen=True)
class Sharing:
    """The layers of a model by the tasks whose outputs they reach.

    Attributes:
        layers: From the inputs up, (layer, tasks, number of parameters); a layer whose parts are used by different
            tasks has several entries.
        parameters: The number of parameters that reach an output.
        single_task: For each task, the number of parameters of a model of that task alone, built with the same trunk.
        is_printed: Whether the table has been printed, so that `print` shows the totals alone.
    """

    layers: tuple[SharedLayer, ...]
    parameters: int
    single_task: dict[str, int]
    is_printed: bool = field(default=False, compare=False)

    @property
    def saved(self) -> float:
        """The fraction of parameters saved compared with all single-task models; negative if the model has more."""
        return 1 - self.parameters / max(sum(self.single_task.values()), 1)

    def __repr__(self) -> str:
        single_task = sum(self.single_task.values())
        return (
            f"<Sharing: {self.parameters:,} parameters, {single_task:,} in single-task models, {self.saved:.1%} saved>"
        )

    def __str__(self) -> str:
        return repr(self) if self.is_printed else self.table

    @property
    def table(self) -> str:
        """The layers with their parameters and tasks, and the totals."""
        width = max(len(name) for name in ("parameters", *(layer.layer for layer in self.layers)))
        lines = [f"{'layer':<{width}}  {'parameters':>12}  tasks"]
        for layer in self.layers:
            users = "all" if len(layer.tasks) == len(self.single_task) > 1 else ", ".join(layer.tasks)
            lines.append(f"{layer.layer:<{width}}  {layer.parameters:>12,}  {users}")
        by_task = ", ".join(f"{task} {parameters:,}" for task, parameters in self.single_task.items())
        shared = sum(layer.parameters for layer in self.layers if len(layer.tasks) > 1)
        lines.append(f"{self.parameters:,} parameters, {shared:,} of them shared.")
        lines.append(f"Single-task models: {sum(self.single_task.values()):,} ({by_task}). Saved: {self.saved:.1%}.")
        return "\n".join(lines)


def sharing(model: keras.Model, tasks: Sequence[Task] = (), trunk: Trunk | None = None) -> Sharing:
    """Describe a functional model with a dict of outputs.

    Args:
        model: The model.
        tasks: Its task objects.
        trunk: The trunk that it was built with. Tasks and trunk determine what a single-task model would be. Without
            them, or where their layers cannot be rebuilt, it is the part of the graph that the task's output needs.
    """
    parts = partition(model)
    users: dict[int, tuple[str, ...]] = {id(v): (task,) for task, own in parts.own.items() for v in own}
    users |= {id(v): sharers for v, sharers in zip(parts.shared, parts.sharers, strict=True)}
    sizes: dict[tuple[str, tuple[str, ...]], int] = {}
    for layer in model.layers:
        for v in layer.weights:
            if id(v) in users:
                key = layer.name, users.pop(id(v))  # a tied variable counts once
                sizes[key] = sizes.get(key, 0) + _size(v)
    layers = tuple(SharedLayer(*key, size) for key, size in sizes.items())
    single = {task: sum(layer.parameters for layer in layers if task in layer.tasks) for task in parts.tasks}
    if trunk is not None and trunk.serializable:
        with contextlib.suppress(ValueError, TypeError):  # layers that cannot be rebuilt, such as one used twice
            single = {task.name: _single_task_size(model, task, tasks, trunk) for task in tasks}
    return Sharing(layers, sum(sizes.values()), single)


def _single_task_size(model, task, tasks, trunk):
    """The number of parameters of a task's single-task model, which has the heads that the task reads."""
    trunk = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(trunk.single_task(task.name)))
    inputs = keras.tree.map_structure(
        lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name, optional=is_optional(x)), model.input
    )
    features = trunk(without_own_inputs(inputs, tasks), [task.name])[task.name]
    needed = [*tasks_read_by(task, tasks), task]
    outputs = heads(needed, dict.fromkeys([each.name for each in needed], features), inputs)
    return sum(_size(v) for v in keras.Model(inputs, outputs[task.name]).weights)


def _size(variable):
    return int(np.prod(variable.shape))
