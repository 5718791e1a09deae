"""How a balancing method is used: by which function its updates are computed, and with which shape it is called."""

import itertools
import math
from collections.abc import Callable
from typing import TypeAlias

from tf_mtl._arguments import integer
from tf_mtl._engine.feature_gradients import by_features
from tf_mtl._engine.gradients import trainable
from tf_mtl._engine.parameter_gradients import by_parameters
from tf_mtl._engine.scalarized import scalarized
from tf_mtl._engine.update import Update
from tf_mtl._graph.partition import Partition
from tf_mtl.balancing import Balancing

UpdateFunction: TypeAlias = Callable[..., Update]


def update_function(balancing: Balancing, gradients: str, parts: Partition, accumulate: int) -> UpdateFunction:
    """Return the function (model, balancing, micro-batches, partition) -> Update for a balancing method.

    Raises:
        ValueError: for an unknown value of `gradients`, a gradient method where nothing is shared, or options that the
            method does not support.
    """
    name = type(balancing).__name__
    if integer("accumulate", accumulate, 1) > 1 and balancing.needs_validation:
        raise ValueError(
            f"accumulate={accumulate} is not supported with {name}, which looks ahead from a whole batch. Use 1."
        )
    functions = {"parameters": by_parameters, "features": by_features}
    if gradients not in functions:
        raise ValueError(f"`gradients` must be 'parameters' or 'features', received {gradients!r}.")
    if balancing.kind == "losses":
        return scalarized
    parts.check_shared(name)
    if gradients == "features":
        _check_features(balancing, name, parts, accumulate)
    return functions[gradients]


def input_shape(balancing: Balancing, gradients: str, parts: Partition) -> tuple[int | None, ...]:
    """Return the shape of what a balancing method is called with: losses, Gramian or Jacobian."""
    tasks = len(parts.tasks)
    width = sum(math.prod(v.shape) for v in trainable(parts.shared)) if gradients == "parameters" else None
    return {"losses": (tasks,), "gramian": (tasks, tasks), "jacobian": (tasks, width)}[balancing.kind]


def _check_features(balancing, name, parts, accumulate):
    if accumulate > 1:
        raise ValueError(
            f"accumulate={accumulate} is not supported with gradients='features': the features of the whole batch are "
            "balanced before any goes back through the trunk. Use gradients='parameters', or accumulate=1."
        )
    if balancing.needs_half_batches or balancing.has_jacobian_state:
        raise ValueError(
            f"gradients='features' is not supported with {name}: each row of a batch has features of its own, which "
            "cannot be compared with those of other rows or steps. Use gradients='parameters'."
        )
    if parts.nested or not parts.frontier:
        inside = f": {parts.nested[0].path} lies in a nested model that several tasks read" if parts.nested else ""
        raise ValueError(
            "gradients='features' needs tensors between the shared layers and the tasks' own layers, which this "
            f"graph does not have{inside}. Use gradients='parameters'."
        )
    without_rows = next((x for x in parts.frontier if x.shape[0] is not None), None)
    if without_rows is not None:
        raise ValueError(
            f"gradients='features' needs features with one row per row of the batch, but the tasks read '"
            f"{without_rows.name}' of the shape {without_rows.shape}, such as the table of a tied head. Use "
            "gradients='parameters'."
        )
    for one, other in itertools.combinations(parts.tasks, 2):
        share = any({one, other} <= set(tasks) for tasks in parts.sharers)
        if share and not any({one, other} <= readers for readers in parts.readers):
            raise ValueError(
                f"gradients='features' needs every two tasks to read a common tensor, but '{one}' and '{other}' read "
                "different outputs of the layers that they share, so their gradients would never seem to conflict. "
                "Let them read the same feature, or use gradients='parameters'."
            )
