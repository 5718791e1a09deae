"""The trunks of the Census-Income recipe, by name, and the width that gives each the same number of parameters."""

import functools
from collections.abc import Callable, Sequence

import keras

import tf_mtl as mtl

L, T = keras.layers, mtl.trunks
DROPOUT = 0.1
EXPERTS = 8


def dense(units: int) -> list[keras.layers.Layer]:
    """Return a dense layer with dropout."""
    return [L.Dense(units, "relu"), L.Dropout(DROPOUT)]


def network(width: int) -> list[list[keras.layers.Layer]]:
    """Return two dense layers, of `width` units and half as many."""
    return [dense(width), dense(max(width // 2, 1))]


TRUNKS: dict[str, Callable] = {
    "hard": lambda encoder, width: T.HardSharing([encoder, *network(width)]),
    "soft": lambda encoder, width: T.SoftSharing([encoder, *network(width)], strength=1e-3),
    "cross_stitch": lambda encoder, width: T.CrossStitch([encoder, *network(width)]),
    "mmoe": lambda encoder, width: T.MMoE(encoder, network(width), EXPERTS),
    "cgc": lambda encoder, width: T.CGC(encoder, network(width), task_experts=2, shared_experts=4),
    "ple": lambda encoder, width: T.PLE(encoder, dense(width), task_experts=2, shared_experts=4),
    "dselect_k": lambda encoder, width: T.DSelectK(encoder, network(width), EXPERTS, top_k=4, per_example=True),
}
SINGLE = "single-task"
NAMES = (SINGLE, *TRUNKS)


def models(name: str, width: int, encoder: mtl.encoders.TabularEncoder, tasks: Sequence[mtl.tasks.Task]) -> list:
    """Return the models of a trunk: one for all tasks, or for single-task training one per task."""
    groups = [[task] for task in tasks] if name == SINGLE else [tasks]
    build_trunk = TRUNKS["hard" if name == SINGLE else name]
    encoders = [type(encoder).from_config(encoder.get_config()) for _ in groups]
    return [
        mtl.build_model(copy.inputs(), build_trunk(copy, width), group)
        for copy, group in zip(encoders, groups, strict=True)
    ]


def parameters(name: str, width: int, encoder: mtl.encoders.TabularEncoder, tasks: Sequence[mtl.tasks.Task]) -> int:
    """Return the number of parameters of all models of a trunk."""
    return sum(model.count_params() for model in models(name, width, encoder, tasks))


def fitting_width(name: str, budget: int, encoder: mtl.encoders.TabularEncoder, tasks: Sequence) -> tuple[int, int]:
    """Return the width with which a trunk comes closest to a number of parameters, and its number of parameters.

    Raises:
        ValueError: if the closest is more than 5 % off.
    """

    count = functools.cache(lambda width: parameters(name, width, encoder, tasks))
    width = nearest_width(count, budget)
    if abs(count(width) - budget) > 0.05 * budget:
        raise ValueError(
            f"No width of '{name}' comes within 5 % of the budget of {budget:,} parameters: the nearest is {width}, "
            f"with {count(width):,} parameters. Choose a larger --width."
        )
    keras.utils.clear_session()
    return width, count(width)


def nearest_width(count: Callable[[int], int], budget: int) -> int:
    """Return the width whose number of parameters, `count(width)`, is nearest to the budget."""
    low, high = 1, 2
    while count(high) < budget:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < budget else (low, middle)
    return min(low, high, key=lambda width: abs(count(width) - budget))
