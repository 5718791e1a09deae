"""MTL-LoRA: low-rank changes of one encoder, whose factors the tasks share and transform."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_mtl._arguments import in_range, integer
from tf_mtl.trunks._base import Features, Trunk, as_features
from tf_mtl.trunks._lora import ChangedEncoder, any_input
from tf_mtl.trunks._stages import Encoder, layer_or_layers

_ENCODER = "mtl_lora_encoder"
_SHARED = "mtl_lora_shared"


@keras.saving.register_keras_serializable("tf_mtl")
class MTLLoRA(Trunk):
    r"""One encoder, to whose kernels each task adds a matrix of low rank, made of factors that the tasks share.

    For task t, a kernel W becomes

    $$W + \frac{\alpha}{r} A \Lambda_t \sum_{i=1}^{n} s_{ti} B_i, \qquad s_t = \mathrm{softmax}(w_t / \tau)$$

    with the shared $A$ [in, r] and $B_i$ [r, out], and the task's own $\Lambda_t$ [r, r], which starts as the identity,
    and $w_t$ [n]. $B_i$ start at zero, so the network starts as the encoder. To train only the factors and the heads,
    freeze the encoder first: `encoder.trainable = False`. The encoder runs once per task.

    Args:
        encoder: A Keras layer or model, such as `tf_mtl.encoders.BackboneEncoder` around a keras-hub backbone; or a
            list of layers that are applied in turn.
        rank: Rank r of the changes.
        alpha: Scale of the changes, which is divided by `rank`; by default 2 x `rank`.
        up_projections: The number n of matrices $B_i$.
        temperature: $\tau$: the lower, the more a task keeps to one of the $B_i$.
        kernels: Which kernels to change: those with one of these strings in their path; all by default.

    Default values and initial values are those of the authors' code: $w_t$ starts uniformly between
    $-1 / \sqrt{n}$ and $1 / \sqrt{n}$.

    Raises:
        TypeError: if `encoder` does not consist of layers, or `kernels` is a string.
        ValueError: for numbers out of range, if no kernel matches, or if the encoder adds losses.

    Reference: Yang et al., "MTL-LoRA: low-rank adaptation for multi-task learning", AAAI 2025.

    Example:

    >>> trunk = mtl.trunks.MTLLoRA(mtl.encoders.MLPEncoder([8, 4]), rank=2)
    >>> trunk(keras.Input((3,)), ["a", "b"])["a"]["pooled"].shape
    (None, 4)
    """

    def __init__(
        self,
        encoder: Encoder,
        rank: int = 8,
        alpha: float | None = None,
        up_projections: int = 3,
        temperature: float = 0.1,
        kernels: Sequence[str] | None = None,
    ):
        if isinstance(kernels, str):
            raise TypeError(f"`kernels` must be a list of parts of paths, received {kernels!r}: write [{kernels!r}].")
        self.encoder = layer_or_layers("encoder", encoder)
        self.rank = integer("rank", rank, 1)
        self.alpha = alpha
        self.up_projections = integer("up_projections", up_projections, 1)
        self.temperature = in_range("temperature", temperature, 0, open_low=True)
        self.kernels = None if kernels is None else list(kernels)

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return for each task the features of the encoder with the task's changes."""
        encoder = ChangedEncoder(self.encoder, self.kernels, name=_ENCODER)
        encoder.build(keras.tree.map_structure(lambda x: x.shape, inputs))
        shared = SharedFactors(encoder.shapes, self.rank, self.up_projections, name=_SHARED)(any_input(inputs))
        scale = 2.0 if self.alpha is None else self.alpha / self.rank
        features = {}
        for task in tasks:
            changes = TransformedFactors(encoder.shapes, scale, self.temperature, name=_name(task))(shared)
            features[task] = as_features(encoder(inputs, changes=changes))
        return features

    def adapter_norms(self, model: keras.Model) -> dict[str, dict[str, float]]:
        """Return for each task the norm of every kernel's change, divided by that of the kernel.

        Args:
            model: A model built with this trunk.
        """
        kernels = model.get_layer(_ENCODER).changed
        names = [kernel.path.removeprefix(f"{_ENCODER}/") for kernel in kernels]
        shared = model.get_layer(_SHARED)(np.zeros(1))
        norms = {}
        for task in model.output:
            changes = model.get_layer(_name(task))(shared)
            sizes = [[float(np.linalg.norm(x)) for x in pair] for pair in zip(changes, kernels, strict=True)]
            norms[task] = {name: change / kernel for name, (change, kernel) in zip(names, sizes, strict=True)}
        return norms


@keras.saving.register_keras_serializable("tf_mtl")
class SharedFactors(keras.layers.Layer):
    """For each kernel the shared factors, a pair of A [rows, rank] and B [n, rank, columns], whatever the inputs.

    Args:
        shapes: For each kernel, its shape and the number of leading axes that are input axes.
        rank: Number of A's columns.
        count: The number n of matrices in B.
        **kwargs: See `keras.layers.Layer`.
    """

    def __init__(self, shapes: Sequence[tuple], rank: int, count: int, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.shapes = [(tuple(shape), axes) for shape, axes in shapes]
        self.rank, self.count = rank, count

    def build(self, input_shape: Any) -> None:
        """Create each kernel's A, normal with variance 1 / rows as in a dense layer, and B, zeros."""
        self.factors = []
        for index, (shape, axes) in enumerate(self.shapes):
            rows, columns = math.prod(shape[:axes]), math.prod(shape[axes:])
            a = self.add_weight(shape=(rows, self.rank), initializer="lecun_normal", name=f"a_{index}")
            b = self.add_weight(shape=(self.count, self.rank, columns), initializer="zeros", name=f"b_{index}")
            self.factors.append([a, b])

    def call(self, inputs: Any) -> list[list[Any]]:
        """Return the factors."""
        return [[keras.ops.convert_to_tensor(factor) for factor in pair] for pair in self.factors]

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """Return no mask: kernels have no positions."""

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shapes": self.shapes, "rank": self.rank, "count": self.count}


@keras.saving.register_keras_serializable("tf_mtl")
class TransformedFactors(keras.layers.Layer):
    """A task's changes of kernels, each in its shape, from the shared factors.

    Args:
        shapes: For each kernel, its shape and the number of leading axes that are input axes.
        scale: Factor of the changes.
        temperature: By which the weights of the up-projections are divided.
        **kwargs: See `keras.layers.Layer`.
    """

    def __init__(self, shapes: Sequence[tuple], scale: float, temperature: float, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.shapes = [(tuple(shape), axes) for shape, axes in shapes]
        self.scale, self.temperature = scale, temperature

    def build(self, shared_shape: Any) -> None:
        """Create each kernel's transformation and the weights of its up-projections."""
        (count, rank, _) = shared_shape[0][1]
        bound = 1 / math.sqrt(count)
        self.own = [
            [
                self.add_weight(shape=(rank, rank), initializer="identity", name=f"transformation_{index}"),
                self.add_weight(
                    shape=(count,), initializer=keras.initializers.RandomUniform(-bound, bound), name=f"weights_{index}"
                ),
            ]
            for index in range(len(self.shapes))
        ]

    def call(self, shared: Any) -> list[Any]:
        """Return the changes."""
        changes = []
        for (a, b), (transformation, weights), (shape, _) in zip(shared, self.own, self.shapes, strict=True):
            mean = keras.ops.tensordot(keras.ops.softmax(weights / self.temperature), b, 1)
            change = keras.ops.matmul(keras.ops.matmul(a, transformation), mean)
            changes.append(keras.ops.reshape(self.scale * change, shape))
        return changes

    def compute_mask(self, shared: Any, mask: Any = None) -> None:
        """Return no mask: kernels have no positions."""

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "shapes": self.shapes,
            "scale": self.scale,
            "temperature": self.temperature,
        }


def _name(task):
    return f"mtl_lora_{task}"
