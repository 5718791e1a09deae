"""LoRA: low-rank, task-specific changes to the weights of one encoder."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_mtl._arguments import integer
from tf_mtl.trunks._base import Features, Trunk, as_features
from tf_mtl.trunks._stages import Encoder, layer_or_layers, layers, run

_ENCODER = "lora_encoder"


@keras.saving.register_keras_serializable("tf_mtl")
class LoRA(Trunk):
    r"""One encoder, to whose kernels each task adds its own matrix of low rank.

    For task t, a kernel W (of a dense, convolutional or recurrent layer, or of a projection in attention) becomes
    W + alpha / rank A_t B_t, with A_t [in, rank] and B_t [rank, out] (Hu et al., "LoRA: Low-Rank Adaptation of Large
    Language Models", ICLR 2022). B_t starts at zero, so the network starts as the encoder. To train only A_t, B_t and
    the heads, freeze the encoder first: `encoder.trainable = False`. The encoder runs once per task.

    Args:
        encoder: A Keras layer or model, such as `tf_mtl.encoders.BackboneEncoder` around a keras-hub backbone; or a
            list of layers that are applied in turn.
        rank: Rank of the changes. Our default; the paper uses 1 to 64.
        alpha: Scale of the changes, which is divided by `rank`; by default 2 x `rank`.
        kernels: Which kernels to change: those with one of these strings in their path, such as ["query", "value"],
            the paper's choice for Transformers. All kernels by default.

    Raises:
        TypeError: if `encoder` does not consist of layers, or `kernels` is a string.
        ValueError: for a `rank` below one, if no kernel matches, or if the encoder adds losses.

    Example:

    >>> trunk = mtl.trunks.LoRA(mtl.encoders.MLPEncoder([8, 4]), rank=2)
    >>> trunk(keras.Input((3,)), ["a", "b"])["a"]["pooled"].shape
    (None, 4)
    """

    def __init__(
        self, encoder: Encoder, rank: int = 8, alpha: float | None = None, kernels: Sequence[str] | None = None
    ):
        if isinstance(kernels, str):
            raise TypeError(f"`kernels` must be a list of parts of paths, received {kernels!r}: write [{kernels!r}].")
        self.encoder = layer_or_layers("encoder", encoder)
        self.rank = integer("rank", rank, 1)
        self.alpha = alpha
        self.kernels = None if kernels is None else list(kernels)

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return for each task the features of the encoder with the task's changes."""
        encoder = ChangedEncoder(self.encoder, self.kernels, name=_ENCODER)
        encoder.build(keras.tree.map_structure(lambda x: x.shape, inputs))
        scale = 2.0 if self.alpha is None else self.alpha / self.rank
        features = {}
        for task in tasks:
            changes = LowRank(encoder.shapes, self.rank, scale, name=_name(task))(any_input(inputs))
            features[task] = as_features(encoder(inputs, changes=changes))
        return features

    def adapter_norms(self, model: keras.Model) -> dict[str, dict[str, float]]:
        """Return for each task the norm of every kernel's change, divided by that of the kernel.

        Args:
            model: A model built with this trunk.
        """
        kernels = model.get_layer(_ENCODER).changed
        names = [kernel.path.removeprefix(f"{_ENCODER}/") for kernel in kernels]
        return {task: dict(zip(names, _ratios(model, task, kernels), strict=True)) for task in model.output}


@keras.saving.register_keras_serializable("tf_mtl")
class LowRank(keras.layers.Layer):
    """Changes of kernels, scale * A B for each kernel and in its shape, whatever the inputs.

    Args:
        shapes: For each kernel, its shape and the number of leading axes that are input axes.
        rank: Number of A's columns and B's rows.
        scale: Factor of the changes.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`.
    """

    def __init__(self, shapes: Sequence[tuple], rank: int, scale: float, name: str = "low_rank", **kwargs: Any):
        super().__init__(name=name, **{"dtype": "float32", **kwargs})
        self.shapes = [(tuple(shape), axes) for shape, axes in shapes]
        self.rank = rank
        self.scale = scale

    def build(self, input_shape: Any) -> None:
        """Create each kernel's A, normal with variance 1 / rows as in a dense layer, and B, zeros."""
        self.factors = []
        for index, (shape, axes) in enumerate(self.shapes):
            rows, columns = math.prod(shape[:axes]), math.prod(shape[axes:])
            a = self.add_weight(shape=(rows, self.rank), initializer="lecun_normal", name=f"a_{index}")
            b = self.add_weight(shape=(self.rank, columns), initializer="zeros", name=f"b_{index}")
            self.factors.append([a, b])

    def call(self, inputs: Any) -> list[Any]:
        """Return the changes."""
        products = [self.scale * keras.ops.matmul(a, b) for a, b in self.factors]
        return [keras.ops.reshape(x, shape) for x, (shape, _) in zip(products, self.shapes, strict=True)]

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """Return no mask: kernels have no positions."""

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shapes": self.shapes, "rank": self.rank, "scale": self.scale}


@keras.saving.register_keras_serializable("tf_mtl")
class ChangedEncoder(keras.layers.Layer):
    """An encoder that is called with changes of its kernels.

    Args:
        encoder: A layer, or a list of layers that are applied in turn.
        kernels: Change the kernels with one of these strings in their path; all by default.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`.

    Attributes:
        shapes: For each kernel, its shape and the number of leading axes that are input axes; set in `build`.

    Raises:
        ValueError: if no kernel matches.
    """

    def __init__(self, encoder: Encoder, kernels: Sequence[str] | None = None, name: str = "encoder", **kwargs: Any):
        super().__init__(name=name, autocast=False, **{"dtype": "float32", **kwargs})  # the encoder has its own policy
        self.encoder = encoder
        self.kernels = kernels

    def build(self, input_shape: Any) -> None:
        """Create the encoder's variables, and find the kernels."""
        _build(self.encoder, input_shape)
        owners = [(layer, v) for layer in self._flatten_layers() if not layer._layers for v in layer.weights]
        kernels = [(layer, v) for layer, v in owners if v.name.endswith("kernel") and len(v.shape) > 1]
        matches = [(layer, v) for layer, v in kernels if self.kernels is None or any(k in v.path for k in self.kernels)]
        if not matches:
            raise ValueError(
                f"`kernels` must match at least one kernel of the encoder, received {self.kernels}; the encoder has "
                f"{[v.path for _, v in kernels]}. A custom layer must create its variables in `build`."
            )
        self.changed = [v for _, v in matches]
        self.shapes = [(tuple(v.shape), _input_axes(layer, v)) for layer, v in matches]

    def call(self, inputs: Any, changes: Sequence[Any]) -> Any:
        """Return the encoder's output with changed kernels, and update its seeds and statistics as usual."""
        values = {id(v): (v, v.value) for v in self.variables}
        for kernel, change in zip(self.changed, changes, strict=True):
            values[id(kernel)] = (kernel, kernel.value + change)
        with keras.StatelessScope(state_mapping=list(values.values()), collect_losses=True) as scope:
            output = run("encoder", self.encoder, inputs)
        if scope.losses:
            raise ValueError(
                "`encoder` of LoRA must not add losses, received one with `add_loss` or an activity regularizer: its "
                "losses would be ignored. Regularize its weights instead."
            )
        for variable in self.non_trainable_variables:
            value = scope.get_current_value(variable)
            if value is not values[id(variable)][1]:
                variable.assign(value)
        return output

    def get_config(self) -> dict[str, Any]:
        encoder = keras.saving.serialize_keras_object(self.encoder)
        return {**super().get_config(), "encoder": encoder, "kernels": self.kernels}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ChangedEncoder":
        return cls(**{**config, "encoder": keras.saving.deserialize_keras_object(config["encoder"])})


def any_input(inputs: Any) -> keras.KerasTensor:
    """Return an input that makes changes of kernels part of the graph; its values do not matter."""
    return keras.tree.flatten(inputs)[0]


def _name(task):
    return f"lora_{task}"


def _ratios(model, task, kernels):
    """The Frobenius norms of a task's changes, divided by those of the kernels."""
    layer = model.get_layer(_name(task))
    for (a, b), kernel in zip(layer.factors, kernels, strict=True):
        change = layer.scale * np.asarray(a, "float64") @ np.asarray(b, "float64")
        yield float(np.linalg.norm(change) / np.linalg.norm(np.asarray(kernel, "float64")))


def _build(encoder, shape):
    """Create the variables of a layer, or of layers that are applied in turn."""
    parts = layers(encoder) if isinstance(encoder, (list, tuple)) else [encoder]
    for part in parts:
        if not part.built:
            part.build(shape)
        if part is not parts[-1]:
            shape = part.compute_output_shape(shape)


def _input_axes(layer, kernel):
    """Return how many leading axes of a kernel the layer sums over."""
    if not isinstance(layer, keras.layers.EinsumDense):
        return len(kernel.shape) - 1
    inputs, rest = layer.equation.split(",")
    return sum(axis in inputs for axis in rest.split("->")[0])
