"""DSelect-k: differentiable gates that choose k of the experts."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_mtl._arguments import integer
from tf_mtl.trunks._base import Features, Trunk
from tf_mtl.trunks._experts import Expert, apply_towers, gated_sum_name, gated_sums
from tf_mtl.trunks._stages import Encoder, layer_or_layers, run


@keras.saving.register_keras_serializable("tf_mtl")
class DSelectK(Trunk):
    r"""Experts that all tasks share, with a gate for each task that chooses at most k of them.

    Hazimeh et al., "DSelect-k: Differentiable Selection in the Mixture of Experts with Applications to Multi-Task
    Learning", NeurIPS 2021. A gate has k selectors. Selector j has one logit z_jb for each binary digit b of the
    experts' indices, and gives expert i the weight r_j(i) = prod_b (S(z_jb) if digit b of i is 1, else 1 - S(z_jb)),
    with the smooth step S(z) = -2 z^3 / gamma^3 + 3 z / (2 gamma) + 1/2 between -gamma/2 and gamma/2, 0 below and 1
    above. The weight of expert i is sum_j softmax(w)_j r_j(i).

    The loss contains two penalties for each task and selector: `entropy` times the entropy of r_j, which drives the
    selector to one expert; and, if the number of experts is not a power of 2, `reach` times 1 / sum_i r_j(i) - 1, which
    keeps it from indices without an expert.

    Args:
        encoder: A Keras layer or model from the inputs to features, or a list of layers. Use
            `keras.layers.Identity()` to let the experts read the inputs.
        expert: A layer, or a list of layers, that keeps positions. Each expert is a copy with its own weights; an
            initializer with a fixed seed would make them equal.
        experts: Number of experts, at least 2.
        top_k: The number of selectors k, and so the most experts that a task uses once its selectors have settled.
        per_example: Whether z and w are linear functions of the features instead of learned constants, so that every
            row (or token) chooses its own experts. The penalties are then means over rows (or tokens), one for each of
            the features that heads read.
        gamma: Width of the smooth step; 1 as in the authors' code.
        entropy: Strength of the first penalty. Our default; the paper tunes it.
        reach: Strength of the second penalty; 1 as in the authors' code.
        tower: A layer, or a list of layers, between the experts and a task's head, copied for each task.

    Raises:
        TypeError: if `encoder`, `expert` or `tower` do not consist of layers.
        ValueError: if `top_k` is above `experts`, for other arguments outside their range, or layers that do not fit.

    Example:

    >>> trunk = mtl.trunks.DSelectK(keras.layers.Identity(), keras.layers.Dense(16, "relu"), experts=4, top_k=2)
    >>> trunk(keras.Input((10,)), ["click", "buy"])["buy"]["pooled"].shape
    (None, 16)
    """

    def __init__(
        self,
        encoder: Encoder,
        expert: Encoder,
        experts: int = 8,
        top_k: int = 2,
        per_example: bool = False,
        gamma: float = 1.0,
        entropy: float = 1e-3,
        reach: float = 1.0,
        tower: Encoder | None = None,
    ):
        self.encoder = layer_or_layers("encoder", encoder)
        self.expert = layer_or_layers("expert", expert)
        self.experts = integer("experts", experts, 2)
        self.top_k = integer("top_k", top_k, 1)
        if top_k > experts:
            raise ValueError(f"`top_k` must be at most the number of experts, {experts}; received {top_k}.")
        if not gamma > 0:
            raise ValueError(f"`gamma` must be above 0, received {gamma}.")
        for name, strength in (("entropy", entropy), ("reach", reach)):
            if not strength >= 0:
                raise ValueError(f"`{name}` must be at least 0, received {strength}.")
        self.per_example = per_example
        self.gamma = gamma
        self.entropy = entropy
        self.reach = reach
        self.tower = layer_or_layers("tower", tower, none=True)

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return for each task the experts' outputs, weighted by its gate."""
        experts = [Expert(self.expert, f"expert_{i}") for i in range(self.experts)]
        arguments = self.experts, self.top_k, self.per_example, self.gamma, self.entropy, self.reach
        encoded = run("encoder", self.encoder, inputs)
        outputs = gated_sums(encoded, tasks, experts, lambda task: DSelectKGate(*arguments, name=f"gate_{task}"))
        return apply_towers(self.tower, outputs)

    def gated_layers(self, tasks: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return the layers with the tasks' weighted sums, in one set, "experts"."""
        return {"experts": {task: gated_sum_name(task) for task in tasks}}


@keras.saving.register_keras_serializable("tf_mtl")
class DSelectKGate(keras.layers.Layer):
    """The gate of one task: from features [..., D] to weights [..., N] of N experts; see `DSelectK`.

    Without `per_example` the weights are the same in all rows, and all but the last axis have size 1.
    """

    def __init__(
        self,
        experts: int,
        top_k: int,
        per_example: bool = False,
        gamma: float = 1.0,
        entropy: float = 1e-3,
        reach: float = 1.0,
        name: str = "gate",
        **kwargs: Any,
    ):
        super().__init__(name=name, **{"dtype": "float32", **kwargs})
        self.supports_masking = True
        self.experts = experts
        self.top_k = top_k
        self.per_example = per_example
        self.gamma = gamma
        self.entropy = entropy
        self.reach = reach
        self.digits = math.ceil(math.log2(experts))
        self.bits = (np.arange(experts)[:, None] >> np.arange(self.digits)) & 1

    def build(self, input_shape: Any) -> None:
        """Create the logits, or the matrices that compute them from features."""
        small = keras.initializers.RandomUniform(-self.gamma / 100, self.gamma / 100)
        rows = (input_shape[-1],) if self.per_example else ()
        penalty = None if self.per_example else self.penalty
        shape = (*rows, self.top_k, self.digits)
        self.z = self.add_weight(shape=shape, initializer=small, regularizer=penalty, name="z")
        self.w = self.add_weight(shape=shape[:-1], initializer=small, name="w")

    def call(self, inputs: Any) -> Any:
        """Return the weights."""
        if self.per_example:
            z, w = keras.ops.tensordot(inputs, self.z, 1), keras.ops.tensordot(inputs, self.w, 1)
            self.add_loss(self.penalty(z))
        else:
            z, w = (keras.ops.expand_dims(v, list(range(len(inputs.shape) - 1))) for v in (self.z, self.w))
        weights = keras.ops.matmul(keras.ops.exp(keras.ops.log_softmax(w))[..., None, :], self.selectors(z))
        return keras.ops.squeeze(weights, -2)

    def selectors(self, z: Any) -> Any:
        """Return r_j(i), [..., k, N], from logits [..., k, digits]."""
        step = smooth_step(z, self.gamma)[..., None, :]
        return keras.ops.prod(keras.ops.where(self.bits == 1, step, 1 - step), -1)

    def penalty(self, z: Any) -> Any:
        """Return the penalties, summed over the k selectors and averaged over rows."""
        weights = self.selectors(keras.ops.convert_to_tensor(z))
        penalties = -self.entropy * keras.ops.sum(weights * keras.ops.log(weights + 1e-6), -1)
        if 2**self.digits > self.experts:
            penalties += self.reach * (1 / keras.ops.maximum(keras.ops.sum(weights, -1), 1e-6) - 1)
        return keras.ops.mean(keras.ops.sum(penalties, -1))

    def get_config(self) -> dict[str, Any]:
        names = ("experts", "top_k", "per_example", "gamma", "entropy", "reach")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def smooth_step(z: Any, gamma: float) -> Any:
    """Return the smooth step of `z`: 0 below -gamma/2, 1 above gamma/2, a cubic polynomial between."""
    z = keras.ops.clip(z, -gamma / 2, gamma / 2)
    return -2 / gamma**3 * z**3 + 3 / (2 * gamma) * z + 0.5
