"""Inputs of the tasks' own, filled from labels."""

from collections.abc import Mapping
from typing import Any

from tf_mtl._assertions import readable_errors
from tf_mtl._pipeline.labels import Rules, weight_of


def with_own_inputs(x: Any, y: Mapping[str, Any], weight: Any, rules: Rules) -> Any:
    """Return the inputs of a batch, or whole arrays, with those that tasks fill; those already there remain.

    Args:
        x: The inputs.
        y: Labels by task, as numbers.
        weight: Label weights by task, or None.
        rules: Which tasks fill inputs, and whether the rows are for training.

    Raises:
        ValueError: if the inputs are not a dict, or a task finds that labels contradict each other.
    """
    if not rules.own_inputs:
        return x
    if not isinstance(x, Mapping):
        raise ValueError(
            f"`x` must be a dict {{input: values}}, since tasks add inputs of their own; received {type(x).__name__}."
        )
    labels = {task: (y[task], weight_of(task, weight)) for task in y}
    filled: dict[str, Any] = {}
    with readable_errors():
        for fill in rules.own_inputs:
            filled |= fill(labels, rules.training)
    return {**filled, **x}
