"""DSelect-k: gates that choose k of the experts, differentiably."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_mtl._arguments import integer
from tf_mtl.trunks._base import Features, Trunk
from tf_mtl.trunks._experts import Expert, gated, with_towers
from tf_mtl.trunks._stages import Encoder, checked, run


@keras.saving.register_keras_serializable("tf_mtl")
class DSelectK(Trunk):
    r"""Experts that all tasks share, of which each task's gate chooses at most k.

    Hazimeh et al., "DSelect-k: Differentiable Selection in the Mixture of Experts with Applications to Multi-Task
    Learning", NeurIPS 2021. A gate has k selectors; selector j has one logit z_jb for each binary digit b of the
    experts' numbers, and gives expert i the weight r_j(i) = prod_b (S(z_jb) if digit b of i is 1, else 1 - S(z_jb)),
    with the smooth step S(z) = -2 z^3 / gamma^3 + 3 z / (2 gamma) + 1/2 between -gamma/2 and gamma/2, 0 below and 1
    above. Expert i then weighs sum_j softmax(w)_j r_j(i). The loss contains, for each task and selector, `entropy`
    times the entropy of r_j, which drives the choice to one expert, and, where the number of experts is no power of 2,
    `reach` times 1 / sum_i r_j(i) - 1, which keeps it among those that exist.

    Args:
        encoder: A Keras layer or model from the inputs to features, or a list of layers; `keras.layers.Identity()`
            where the experts are to read the inputs.
        expert: A layer, or a list of layers, that keeps positions; each expert is a copy with weights of its own. An
            initializer with a fixed seed would make them equal.
        experts: Number of experts, at least 2.
        top_k: k, the most experts that a task can use in the end.
        per_example: Whether z and w are linear in the features instead of learned constants, so that every row (or
            token) chooses its own experts. The penalties are then means over rows, or over all tokens, of each of the
            features that heads read.
        gamma: Width of the smooth step; 1 as in the authors' code.
        entropy: Strength of the entropy's penalty. Our default; the paper tunes it.
        reach: Strength of the second penalty; 1 as in the authors' code.
        tower: A layer, or a list of layers, between a task's mixture and its head, copied for each task.

    Raises:
        TypeError: if encoder, expert or tower are not made of layers.
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
        self.encoder = checked("encoder", encoder)
        self.expert = checked("expert", expert)
        self.experts = integer("experts", experts, 2)
        self.top_k = integer("top_k", top_k, 1)
        if top_k > experts:
            raise ValueError(f"`top_k` must not be above the number of experts, {experts}; received {top_k}.")
        if not gamma > 0:
            raise ValueError(f"`gamma` must be above 0, received {gamma}.")
        for name, strength in (("entropy", entropy), ("reach", reach)):
            if not strength >= 0:
                raise ValueError(f"`{name}` must be at least 0, received {strength}.")
        self.per_example = per_example
        self.gamma = gamma
        self.entropy = entropy
        self.reach = reach
        self.tower = None if tower is None else checked("tower", tower)

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return for each task its mixture of the experts."""
        experts = [Expert(self.expert, f"expert_{i}") for i in range(self.experts)]
        arguments = self.experts, self.top_k, self.per_example, self.gamma, self.entropy, self.reach
        encoded = run("encoder", self.encoder, inputs)
        mixed = gated(encoded, tasks, experts, lambda task: DSelectKGate(*arguments, name=f"gate_{task}"))
        return with_towers(self.tower, mixed)


@keras.saving.register_keras_serializable("tf_mtl")
class DSelectKGate(keras.layers.Layer):
    """The gate of one task: from features [..., D] to weights [..., N] of N experts; see `DSelectK`.

    Without `per_example` the weights are the same in all rows, and all but the last axis have size 1.
    """

    def __init__(self, experts, top_k, per_example=False, gamma=1.0, entropy=1e-3, reach=1.0, name="gate", **kwargs):
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

    def build(self, input_shape):
        """Make the logits, or the matrices that make them from features."""
        small = keras.initializers.RandomUniform(-self.gamma / 100, self.gamma / 100)
        rows = (input_shape[-1],) if self.per_example else ()
        penalty = None if self.per_example else self.penalty
        shape = (*rows, self.top_k, self.digits)
        self.z = self.add_weight(shape=shape, initializer=small, regularizer=penalty, name="z")
        self.w = self.add_weight(shape=shape[:-1], initializer=small, name="w")

    def call(self, inputs):
        """Return the weights."""
        if self.per_example:
            z, w = keras.ops.tensordot(inputs, self.z, 1), keras.ops.tensordot(inputs, self.w, 1)
            self.add_loss(self.penalty(z))
        else:
            z, w = (keras.ops.expand_dims(v, list(range(len(inputs.shape) - 1))) for v in (self.z, self.w))
        mixed = keras.ops.matmul(keras.ops.exp(keras.ops.log_softmax(w))[..., None, :], self.selectors(z))
        return keras.ops.squeeze(mixed, -2)

    def selectors(self, z):
        """Return r_j(i), [..., k, N], from logits [..., k, digits]."""
        step = smooth_step(z, self.gamma)[..., None, :]
        return keras.ops.prod(keras.ops.where(self.bits == 1, step, 1 - step), -1)

    def penalty(self, z):
        """Return the selectors' penalties, summed over the k and averaged over rows."""
        chosen = self.selectors(keras.ops.convert_to_tensor(z))
        found = -self.entropy * keras.ops.sum(chosen * keras.ops.log(chosen + 1e-6), -1)
        if 2**self.digits > self.experts:
            found += self.reach * (1 / keras.ops.maximum(keras.ops.sum(chosen, -1), 1e-6) - 1)
        return keras.ops.mean(keras.ops.sum(found, -1))

    def get_config(self):
        names = ("experts", "top_k", "per_example", "gamma", "entropy", "reach")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def smooth_step(z: Any, gamma: float) -> Any:
    """Return the smooth step of `z`: 0 below -gamma/2, 1 above gamma/2, a cubic between."""
    z = keras.ops.clip(z, -gamma / 2, gamma / 2)
    return -2 / gamma**3 * z**3 + 3 / (2 * gamma) * z + 0.5
