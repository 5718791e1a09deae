"""What `CGC` and `PLE` have in common: levels of task-specific and shared experts with gates."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from tf_mtl._arguments import integer
from tf_mtl.trunks._base import Features, Trunk
from tf_mtl.trunks._experts import Expert, GatedSum, apply_towers, gated_sum_name, softmax_gate
from tf_mtl.trunks._stages import Encoder, Output, layer_or_layers, on_features, run


class ExtractionTrunk(Trunk):
    """One or several levels of experts and gates between an encoder and the tasks' towers.

    Args:
        encoder: From the inputs to features.
        expert: What each expert is a copy of.
        task_experts: Number of experts of each task at each level.
        shared_experts: Number of shared experts at each level.
        tower: What each task's tower is a copy of; None for no towers.
    """

    def __init__(
        self,
        encoder: Encoder,
        expert: Encoder,
        task_experts: int = 1,
        shared_experts: int = 1,
        tower: Encoder | None = None,
    ):
        self.encoder = layer_or_layers("encoder", encoder)
        self.expert = layer_or_layers("expert", expert)
        self.task_experts = integer("task_experts", task_experts, 1)
        self.shared_experts = integer("shared_experts", shared_experts, 1)
        self.tower = layer_or_layers("tower", tower, none=True)

    @property
    @abstractmethod
    def level_names(self) -> list[str]:
        """The levels' names, which become parts of their layers' names."""

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return each task's features after the last level."""
        features = [run("encoder", self.encoder, inputs)] * (len(tasks) + 1)
        for level in self.level_names:
            features = self._extract(level, features, tasks)
        return apply_towers(self.tower, dict(zip(tasks, features, strict=True)))

    def gated_layers(self, tasks: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return the layers with the weighted sums at each level: the tasks' and, before the last level, "shared"."""
        return {
            level: {reader: gated_sum_name(f"{level}_{reader}") for reader in self._readers(level, tasks)}
            for level in self.level_names
        }

    def _readers(self, level, tasks):
        return list(tasks) if level == self.level_names[-1] else [*tasks, "shared"]

    def _extract(self, level: str, features: Sequence[Output], tasks: Sequence[str]) -> list[Output]:
        """Return the features after one level: each task's and, except after the last level, the shared ones.

        Args:
            level: The level's name.
            features: The features before the level: each task's, and the shared ones at the end.
            tasks: The task names.
        """
        is_last = level == self.level_names[-1]
        owners = [*tasks, "shared"]
        numbers = [*[self.task_experts] * len(tasks), self.shared_experts]
        experts = [
            [Expert(self.expert, f"{level}_{owner}_{i}") for i in range(number)]
            for owner, number in zip(owners, numbers, strict=True)
        ]
        readers = self._readers(level, tasks)
        numbers_read = [self.task_experts + self.shared_experts] * len(tasks)
        if not is_last:
            numbers_read.append(sum(numbers))
        gates = [
            softmax_gate(number, f"gate_{level}_{reader}") for number, reader in zip(numbers_read, readers, strict=True)
        ]
        sums = [GatedSum(name=gated_sum_name(f"{level}_{reader}")) for reader in readers]

        def apply(tensors):
            outputs = [[expert(x) for expert in own] for own, x in zip(experts, tensors, strict=True)]
            *task_outputs, shared_outputs = outputs
            read = [own + shared_outputs for own in task_outputs]
            if not is_last:
                read.append([output for own in outputs for output in own])
            by_reader = zip(gates, sums, tensors[: len(readers)], read, strict=True)
            return [gated_sum([gate(x), *outputs_read]) for gate, gated_sum, x, outputs_read in by_reader]

        return on_features(apply, features)
