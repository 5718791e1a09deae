"""Customized gate control: tasks' own experts beside shared ones."""

from collections.abc import Sequence
from typing import Any

import keras

from tf_mtl._arguments import integer
from tf_mtl.trunks._base import Features, Trunk
from tf_mtl.trunks._experts import with_towers
from tf_mtl.trunks._ple import extraction
from tf_mtl.trunks._stages import Encoder, checked, run


@keras.saving.register_keras_serializable("tf_mtl")
class CGC(Trunk):
    r"""Experts of every task's own beside shared ones, and a gate for each task over its own and the shared ones.

    Task t reads sum_i g_t(x)_i f_i(x) over its own and the shared experts, with g_t(x) = softmax(W_t x); no task reads
    another's experts (Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model for
    Personalized Recommendations", RecSys 2020). It is `PLE` with one level.

    Args:
        encoder: A Keras layer or model from the inputs to features, or a list of layers; `keras.layers.Identity()`
            where the experts are to read the inputs.
        expert: A layer, or a list of layers, that keeps positions; each expert is a copy with weights of its own. An
            initializer with a fixed seed would make them equal.
        task_experts: Number of experts of each task's own.
        shared_experts: Number of shared experts.
        tower: A layer, or a list of layers, between a task's mixture and its head, copied for each task.

    Raises:
        TypeError: if encoder, expert or tower are not made of layers.
        ValueError: for numbers below one, or layers that do not fit.

    Example:

    >>> trunk = mtl.trunks.CGC(keras.layers.Identity(), keras.layers.Dense(16, "relu"), shared_experts=2)
    >>> trunk(keras.Input((10,)), ["click", "buy"])["buy"]["pooled"].shape
    (None, 16)
    """

    def __init__(
        self,
        encoder: Encoder,
        expert: Encoder,
        task_experts: int = 1,
        shared_experts: int = 1,
        tower: Encoder | None = None,
    ):
        self.encoder = checked("encoder", encoder)
        self.expert = checked("expert", expert)
        self.task_experts = integer("task_experts", task_experts, 1)
        self.shared_experts = integer("shared_experts", shared_experts, 1)
        self.tower = None if tower is None else checked("tower", tower)

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return for each task its mixture of its own and the shared experts."""
        encoded = run("encoder", self.encoder, inputs)
        flows = [encoded] * (len(tasks) + 1)
        mixed = extraction("cgc", flows, tasks, self.expert, self.task_experts, self.shared_experts, last=True)
        return with_towers(self.tower, dict(zip(tasks, mixed, strict=True)))
