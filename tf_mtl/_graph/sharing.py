"""Which layers the tasks share, and what that saves."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from tf_mtl._graph.partition import partition
from tf_mtl.tasks import Task
from tf_mtl.trunks import Trunk


@dataclass(frozen=True)
class Sharing:
    """The layers of a model by the tasks whose outputs they reach.

    Attributes:
        layers: (layer, tasks, number of parameters), from the inputs up; a layer of which different tasks use
            different parts has several entries.
        parameters: Number of parameters that reach an output.
        single_task: For each task, that of the model that it would have alone, built with the same trunk.
    """

    layers: tuple[tuple[str, tuple[str, ...], int], ...]
    parameters: int
    single_task: dict[str, int]

    @property
    def saved(self) -> float:
        """The share of parameters that the model saves against all single-task models; negative if it has more."""
        return 1 - self.parameters / max(sum(self.single_task.values()), 1)

    def __str__(self) -> str:
        tasks = list(self.single_task)
        width = max(len(name) for name, _, _ in [*self.layers, ("parameters", (), 0)])
        lines = [f"{'layer':<{width}}  {'parameters':>12}  tasks"]
        for name, used_by, parameters in self.layers:
            users = "all" if len(used_by) == len(tasks) > 1 else ", ".join(used_by)
            lines.append(f"{name:<{width}}  {parameters:>12,}  {users}")
        alone = ", ".join(f"{task} {parameters:,}" for task, parameters in self.single_task.items())
        shared = sum(parameters for _, used_by, parameters in self.layers if len(used_by) > 1)
        lines.append(f"{self.parameters:,} parameters, {shared:,} of them shared.")
        lines.append(f"Single-task models: {sum(self.single_task.values()):,} ({alone}). Saved: {self.saved:.1%}.")
        return "\n".join(lines)


def sharing(model: keras.Model, tasks: Sequence[Task] = (), trunk: Trunk | None = None) -> Sharing:
    """Describe a functional model with a dict of outputs.

    Args:
        model: The model.
        tasks: Its task objects, and
        trunk: the trunk it was built with; they tell what a single-task model would be. Where they are missing, or have
            layers that cannot be made anew, it is the part of the graph that the task's output needs.
    """
    parts = partition(model)
    users = {id(v): (task,) for task, variables in parts.own.items() for v in variables}
    users |= {id(v): sharers for v, sharers in zip(parts.shared, parts.sharers, strict=True)}
    rows: dict[tuple, int] = {}
    for layer in model.layers:
        for v in layer.weights:
            if id(v) in users:
                key = layer.name, users.pop(id(v))  # a tied variable counts once
                rows[key] = rows.get(key, 0) + _size(v)
    layers = tuple((*key, size) for key, size in rows.items())
    alone = {task: sum(size for _, used_by, size in layers if task in used_by) for task in parts.tasks}
    if trunk is not None and trunk.serializable:
        with contextlib.suppress(ValueError, TypeError):  # layers that cannot be made anew, as one that is used twice
            alone = {task.name: _alone(model, task, trunk) for task in tasks}
    return Sharing(layers, sum(rows.values()), alone)


def _alone(model, task, trunk):
    """The number of parameters of a task's single-task model."""
    trunk = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(trunk.single_task(task.name)))
    inputs = keras.tree.map_structure(
        lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name), model.input
    )
    output = task.head(trunk(inputs, [task.name])[task.name])
    return sum(_size(v) for v in keras.Model(inputs, output).weights)


def _size(variable):
    return int(np.prod(variable.shape))
