"""Multi-gate mixture of experts."""

from collections.abc import Sequence
from typing import Any

import keras

from tf_mtl._arguments import integer
from tf_mtl.trunks._base import Features, Trunk
from tf_mtl.trunks._experts import Expert, apply_towers, gated_sum_name, gated_sums, softmax_gate
from tf_mtl.trunks._stages import Encoder, layer_or_layers, run


@keras.saving.register_keras_serializable("tf_mtl")
class MMoE(Trunk):
    r"""Experts that all tasks share, and a gate for each task.

    Task t reads sum_i g_t(x)_i f_i(x), with experts f_i and the gate g_t(x) = softmax(W_t x), where x are the encoder's
    features (Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts",
    KDD 2018). If the encoder returns several features, such as `pooled` and `sequence`, each goes through the same
    experts and gates: there is one sum per row for `pooled`, and one per token for `sequence`.

    Args:
        encoder: A Keras layer or model from the inputs to features, or a list of layers. Use
            `keras.layers.Identity()` to let the experts read the inputs.
        expert: A layer, or a list of layers, that keeps positions. Each expert is a copy with its own weights; an
            initializer with a fixed seed would make them equal.
        experts: Number of experts; 8 as in the paper.
        tower: A layer, or a list of layers, between the experts and a task's head, copied for each task.

    Raises:
        TypeError: if `encoder`, `expert` or `tower` do not consist of layers.
        ValueError: for fewer than one expert, or layers that do not fit.

    Example:

    >>> trunk = mtl.trunks.MMoE(keras.layers.Identity(), keras.layers.Dense(16, "relu"), experts=4)
    >>> trunk(keras.Input((10,)), ["click", "buy"])["buy"]["pooled"].shape
    (None, 16)
    """

    def __init__(self, encoder: Encoder, expert: Encoder, experts: int = 8, tower: Encoder | None = None):
        self.encoder = layer_or_layers("encoder", encoder)
        self.expert = layer_or_layers("expert", expert)
        self.experts = integer("experts", experts, 1)
        self.tower = layer_or_layers("tower", tower, none=True)

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return for each task the experts' outputs, weighted by its gate."""
        experts = [Expert(self.expert, f"expert_{i}") for i in range(self.experts)]
        encoded = run("encoder", self.encoder, inputs)
        outputs = gated_sums(encoded, tasks, experts, lambda task: softmax_gate(self.experts, f"gate_{task}"))
        return apply_towers(self.tower, outputs)

    def gated_layers(self, tasks: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return the layers with the tasks' weighted sums, in one set, "experts"."""
        return {"experts": {task: gated_sum_name(task) for task in tasks}}
