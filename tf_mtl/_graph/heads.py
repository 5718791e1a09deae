"""Build the heads of tasks, some of which read others."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tf_mtl._keys import after_key, stages_key
from tf_mtl._names import nearest
from tf_mtl.layers._mix_stages import MixStages
from tf_mtl.layers._stop_gradient import StopGradient
from tf_mtl.tasks import Task

Features = Mapping[str, keras.KerasTensor]


def heads(tasks: Sequence[Task], features: Mapping[str, Features], inputs: Any) -> dict[str, keras.KerasTensor]:
    """Return the outputs of tasks, in their order.

    A task that reads others finds their tensors among its features, under `after_key`, and its own inputs under their
    names.

    Args:
        tasks: The tasks.
        features: The features of each task.
        inputs: The model's inputs, which hold the tasks' own.

    Raises:
        ValueError: if a task reads an unknown one, or tasks read each other in a cycle.
    """
    by_name = {task.name: task for task in tasks}
    outputs: dict[str, keras.KerasTensor] = {}
    readable: dict[tuple[str, str, bool], keras.KerasTensor] = {}
    for task in in_reading_order(tasks):
        read = {}
        for name, part in task.after.items():
            whole, key = (name, part, True), (name, part, task.after_gradients)
            if whole not in readable:
                readable[whole] = by_name[name].readable(outputs[name], part)
            if key not in readable:
                readable[key] = StopGradient(name=f"{name}_{part}_stopped")(readable[whole])
            read[after_key(name)] = readable[key]
        read |= {name: inputs[name] for name in task.own_inputs()}
        outputs[task.name] = task.head({**_with_mixed_stages(task, features[task.name]), **read})
    return {task.name: outputs[task.name] for task in tasks}


def without_own_inputs(inputs: Any, tasks: Sequence[Task]) -> Any:
    """Return the inputs that trunks take."""
    own = {name for task in tasks for name in task.own_inputs()}
    return {name: x for name, x in inputs.items() if name not in own} if own else inputs


def _with_mixed_stages(task: Task, features: Features) -> Features:
    """Return features in which a mix of the encoder's stages replaces what a task reads, if it has `layers`."""
    if task.layers is None:
        return features
    stages = features.get(stages_key(task.features))
    if stages is None:
        raise ValueError(
            f"`layers` of task '{task.name}' needs features['{stages_key(task.features)}'], but the encoder gives "
            f"{sorted(features)}. Use encoders.WithStages(encoder), shared as a whole by HardSharing."
        )
    chosen, count = task.layers if isinstance(task.layers, list) else None, stages.shape[-2]
    if chosen is not None and max(chosen) >= count:
        raise ValueError(
            f"`layers` of task '{task.name}' must be below {count}, the number of stages, received {chosen}."
        )
    return {**features, task.features: MixStages(chosen, name=f"{task.name}_layers")(stages)}


def tasks_read_by(task: Task, tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks that a task reads, directly or through others."""
    read = {task.name}
    for each in reversed(in_reading_order(tasks)):
        if each.name in read:
            read |= each.after.keys()
    return [each for each in tasks if each.name in read - {task.name}]


def in_reading_order(tasks: Sequence[Task]) -> list[Task]:
    """Return tasks so that each comes after those that it reads, otherwise in their order.

    Raises:
        ValueError: if a task reads an unknown one, or tasks read each other in a cycle.
    """
    names = [task.name for task in tasks]
    for task in tasks:
        for name in task.after:
            if name not in names or name == task.name:
                raise ValueError(
                    f"`after` of task '{task.name}' must name other tasks of {names}, received '{name}'."
                    f"{nearest(name, [other for other in names if other != task.name])} It includes tasks that other "
                    "arguments name, such as `entities` of Relations."
                )
    ordered: list[Task] = []
    left = list(tasks)
    while left:
        done = {task.name for task in ordered}
        ready = next((task for task in left if done.issuperset(task.after)), None)
        if ready is None:
            raise ValueError(
                f"`after` must not lead back to a task, but these tasks read each other: {[t.name for t in left]}. "
                "Remove one of them from another's `after`."
            )
        ordered.append(ready)
        left.remove(ready)
    return ordered
