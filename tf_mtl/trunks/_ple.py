"""Progressive layered extraction: tasks' own and shared experts in several levels."""

from collections.abc import Sequence
from typing import Any

import keras

from tf_mtl._arguments import integer
from tf_mtl.trunks._base import Features, Trunk
from tf_mtl.trunks._experts import Expert, Mixture, softmax_gate, with_towers
from tf_mtl.trunks._stages import Encoder, Output, checked, on_features, run


@keras.saving.register_keras_serializable("tf_mtl")
class PLE(Trunk):
    r"""Extraction networks in several levels, each with experts of every task's own and shared ones.

    At each level, task t's features become the mixture of its own and the shared experts by its gate, and the shared
    features the mixture of all experts by the shared gate; gates softmax(W x) and experts read the features that they
    continue, which at first are the encoder's for all. The last level needs no shared gate (Tang et al., "Progressive
    Layered Extraction (PLE): A Novel Multi-Task Learning Model for Personalized Recommendations", RecSys 2020).

    Args:
        encoder: A Keras layer or model from the inputs to features, or a list of layers; `keras.layers.Identity()`
            where the experts are to read the inputs.
        expert: A layer, or a list of layers, that keeps positions; each expert is a copy with weights of its own. An
            initializer with a fixed seed would make them equal.
        task_experts: Number of experts of each task's own at each level.
        shared_experts: Number of shared experts at each level.
        levels: Number of extraction networks; 2 as in the paper.
        tower: A layer, or a list of layers, between a task's features and its head, copied for each task.

    Raises:
        TypeError: if encoder, expert or tower are not made of layers.
        ValueError: for numbers below one, or layers that do not fit.

    Example:

    >>> trunk = mtl.trunks.PLE(keras.layers.Identity(), keras.layers.Dense(16, "relu"), levels=2)
    >>> trunk(keras.Input((10,)), ["click", "buy"])["buy"]["pooled"].shape
    (None, 16)
    """

    def __init__(
        self,
        encoder: Encoder,
        expert: Encoder,
        task_experts: int = 1,
        shared_experts: int = 1,
        levels: int = 2,
        tower: Encoder | None = None,
    ):
        self.encoder = checked("encoder", encoder)
        self.expert = checked("expert", expert)
        self.task_experts = integer("task_experts", task_experts, 1)
        self.shared_experts = integer("shared_experts", shared_experts, 1)
        self.levels = integer("levels", levels, 1)
        self.tower = None if tower is None else checked("tower", tower)

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return for each task its features after the last level."""
        encoded = run("encoder", self.encoder, inputs)
        flows = [encoded] * (len(tasks) + 1)
        for level in range(self.levels):
            last = level == self.levels - 1
            flows = extraction(
                f"level_{level}", flows, tasks, self.expert, self.task_experts, self.shared_experts, last
            )
        return with_towers(self.tower, dict(zip(tasks, flows, strict=False)))


def extraction(
    name: str,
    flows: Sequence[Output],
    tasks: Sequence[str],
    expert: Encoder,
    task_experts: int,
    shared_experts: int,
    last: bool,
) -> list[Output]:
    """Apply one extraction network.

    Args:
        name: A name for its layers.
        flows: The tasks' features, and the shared ones at the end.
        tasks: The tasks' names.
        expert: What each expert is a copy of.
        task_experts: Number of experts of each task's own.
        shared_experts: Number of shared experts.
        last: Whether to leave out the shared features.

    Returns:
        The next level's flows.
    """
    numbers = [*[task_experts] * len(tasks), shared_experts]
    owners = [*tasks, "shared"]
    experts = [[Expert(expert, f"{name}_{o}_{i}") for i in range(n)] for o, n in zip(owners, numbers, strict=True)]
    read = [task_experts + shared_experts] * len(tasks) + ([] if last else [sum(numbers)])
    gates = [softmax_gate(n, f"gate_{name}_{owner}") for n, owner in zip(read, owners, strict=False)]
    mixers = [Mixture(name=f"mixture_{name}_{owner}") for _, owner in zip(read, owners, strict=False)]

    def extract(features):
        outputs = [[one(x) for one in own] for own, x in zip(experts, features, strict=True)]
        seen = [own + outputs[-1] for own in outputs[:-1]] + [[one for own in outputs for one in own]]
        return [mix([gate(x), *found]) for mix, gate, x, found in zip(mixers, gates, features, seen, strict=False)]

    return on_features(extract, flows)
