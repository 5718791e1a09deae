"""Multi-gate mixture of experts."""

from collections.abc import Sequence
from typing import Any

import keras

from tf_mtl._arguments import integer
from tf_mtl.trunks._base import Features, Trunk
from tf_mtl.trunks._experts import Expert, gated, softmax_gate, with_towers
from tf_mtl.trunks._stages import Encoder, checked, run


@keras.saving.register_keras_serializable("tf_mtl")
class MMoE(Trunk):
    r"""Experts that all tasks share, and a gate for each task.

    Task t reads sum_i g_t(x)_i f_i(x), with experts f_i and the gate g_t(x) = softmax(W_t x), where x are the encoder's
    features (Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts",
    KDD 2018). Of an encoder that gives several features, such as `pooled` and `sequence`, each goes through the same
    experts and gates: rows are mixed as a whole, tokens one by one.

    Args:
        encoder: A Keras layer or model from the inputs to features, or a list of layers; `keras.layers.Identity()`
            where the experts are to read the inputs.
        expert: A layer, or a list of layers, that keeps positions; each expert is a copy with weights of its own. An
            initializer with a fixed seed would make them equal.
        experts: Number of experts; 8 as in the paper.
        tower: A layer, or a list of layers, between a task's mixture and its head, copied for each task.

    Raises:
        TypeError: if encoder, expert or tower are not made of layers.
        ValueError: for less than one expert, or layers that do not fit.

    Example:

    >>> trunk = mtl.trunks.MMoE(keras.layers.Identity(), keras.layers.Dense(16, "relu"), experts=4)
    >>> trunk(keras.Input((10,)), ["click", "buy"])["buy"]["pooled"].shape
    (None, 16)
    """

    def __init__(self, encoder: Encoder, expert: Encoder, experts: int = 8, tower: Encoder | None = None):
        self.encoder = checked("encoder", encoder)
        self.expert = checked("expert", expert)
        self.experts = integer("experts", experts, 1)
        self.tower = None if tower is None else checked("tower", tower)

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return for each task its mixture of the experts."""
        experts = [Expert(self.expert, f"expert_{i}") for i in range(self.experts)]
        encoded = run("encoder", self.encoder, inputs)
        mixed = gated(encoded, tasks, experts, lambda task: softmax_gate(self.experts, f"gate_{task}"))
        return with_towers(self.tower, mixed)
