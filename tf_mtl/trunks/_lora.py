"""LoRA: low-rank changes of each task's own to the weights of one encoder."""

import math
from collections.abc import Sequence
from typing import Any

import keras

from tf_mtl._arguments import integer
from tf_mtl.trunks._base import Features, Trunk, as_features
from tf_mtl.trunks._stages import Encoder, checked, layers, run


@keras.saving.register_keras_serializable("tf_mtl")
class LoRA(Trunk):
    r"""One encoder, whose kernels each task changes by a matrix of low rank of its own.

    A kernel W (of a dense, convolutional or recurrent layer, of attention's projections) becomes W + alpha / rank A_t
    B_t for task t, with A_t [in, rank] and B_t [rank, out] (Hu et al., "LoRA: Low-Rank Adaptation of Large Language
    Models", ICLR 2022). B_t starts at zero, and so the network as the encoder. To train the A_t, B_t and heads alone,
    freeze the encoder first: `encoder.trainable = False`. The encoder runs once per task.

    Args:
        encoder: A Keras layer or model, such as `tf_mtl.encoders.BackboneEncoder` around a keras-hub backbone; or a
            list of layers, which are applied in turn.
        rank: Rank of the changes. Our default; the paper uses 1 to 64.
        alpha: Their scale, which is divided by `rank`; by default 2 x `rank`.
        kernels: Parts of the paths of the kernels to change, such as ["query", "value"], the paper's choice for
            Transformers; by default all kernels.

    Raises:
        TypeError: if `encoder` is not made of layers, or `kernels` is a string.
        ValueError: for a `rank` below one, if no kernel is found, or if the encoder adds losses of its own.

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
        self.encoder = checked("encoder", encoder)
        self.rank = integer("rank", rank, 1)
        self.alpha = alpha
        self.kernels = None if kernels is None else list(kernels)

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return for each task the features of the encoder with its changes."""
        encoder = ChangedEncoder(self.encoder, self.kernels, name="lora_encoder")
        encoder.build(keras.tree.map_structure(lambda x: x.shape, inputs))
        scale = 2.0 if self.alpha is None else self.alpha / self.rank
        read = keras.tree.flatten(inputs)[0]
        features = {}
        for task in tasks:
            changes = LowRank(encoder.shapes, self.rank, scale, name=f"lora_{task}")(read)
            features[task] = as_features(encoder(inputs, changes=changes))
        return features


@keras.saving.register_keras_serializable("tf_mtl")
class LowRank(keras.layers.Layer):
    """Returns changes of kernels, whatever the inputs: scale * A B for each, in the kernel's shape.

    Args:
        shapes: For each kernel its shape, and how many of its first axes count as inputs.
        rank: Width of A and height of B.
        scale: Factor of the changes.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`.
    """

    def __init__(self, shapes: Sequence[tuple], rank: int, scale: float, name: str = "low_rank", **kwargs):
        super().__init__(name=name, **{"dtype": "float32", **kwargs})
        self.shapes = [(tuple(shape), axes) for shape, axes in shapes]
        self.rank = rank
        self.scale = scale

    def build(self, input_shape):
        """Make A, normal with the variance 1 / rows as in a dense layer, and B, zeros, of each kernel."""
        self.factors = []
        for place, (shape, axes) in enumerate(self.shapes):
            rows, columns = math.prod(shape[:axes]), math.prod(shape[axes:])
            a = self.add_weight(shape=(rows, self.rank), initializer="lecun_normal", name=f"a_{place}")
            b = self.add_weight(shape=(self.rank, columns), initializer="zeros", name=f"b_{place}")
            self.factors.append([a, b])

    def call(self, inputs):
        """Return the changes."""
        products = [self.scale * keras.ops.matmul(a, b) for a, b in self.factors]
        return [keras.ops.reshape(x, shape) for x, (shape, _) in zip(products, self.shapes, strict=True)]

    def compute_mask(self, inputs, mask=None):
        return None

    def get_config(self):
        return {**super().get_config(), "shapes": self.shapes, "rank": self.rank, "scale": self.scale}


@keras.saving.register_keras_serializable("tf_mtl")
class ChangedEncoder(keras.layers.Layer):
    """An encoder that is called with changes of its kernels.

    Args:
        encoder: A layer, or a list of layers that are applied in turn.
        kernels: Parts of the paths of the kernels to change; all by default.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`.

    Attributes:
        shapes: For each kernel its shape, and how many of its first axes count as inputs; known when built.

    Raises:
        ValueError: if no kernel is found.
    """

    def __init__(self, encoder: Encoder, kernels: Sequence[str] | None = None, name: str = "encoder", **kwargs):
        super().__init__(name=name, autocast=False, **{"dtype": "float32", **kwargs})  # the encoder has its own
        self.encoder = encoder
        self.kernels = kernels

    def build(self, input_shape):
        """Make the encoder's variables, and find the kernels."""
        _build(self.encoder, input_shape)
        owners = [(layer, v) for layer in self._flatten_layers() if not layer._layers for v in layer.weights]
        found = [(layer, v) for layer, v in owners if v.name.endswith("kernel") and len(v.shape) > 1]
        chosen = [one for one in found if self.kernels is None or any(part in one[1].path for part in self.kernels)]
        if not chosen:
            raise ValueError(
                f"`kernels` must name some kernels of the encoder, received {self.kernels}; it has "
                f"{[v.path for _, v in found]}. A layer of your own must make its variables in `build`."
            )
        self.changed = [v for _, v in chosen]
        self.shapes = [(tuple(v.shape), _input_axes(layer, v)) for layer, v in chosen]

    def call(self, inputs, changes):
        """Return the encoder's output with other kernels; its seeds and statistics go on as without."""
        values = {id(v): (v, v.value) for v in self.variables}
        for kernel, change in zip(self.changed, changes, strict=True):
            values[id(kernel)] = (kernel, kernel.value + change)
        with keras.StatelessScope(state_mapping=list(values.values()), collect_losses=True) as scope:
            output = run("encoder", self.encoder, inputs)
        if scope.losses:
            raise ValueError(
                "`encoder` of LoRA must not add losses of its own, by `add_loss` or an activity regularizer: they "
                "would be lost. Regularize its weights instead."
            )
        for variable in self.non_trainable_variables:
            value = scope.get_current_value(variable)
            if value is not values[id(variable)][1]:
                variable.assign(value)
        return output

    def get_config(self):
        encoder = keras.saving.serialize_keras_object(self.encoder)
        return {**super().get_config(), "encoder": encoder, "kernels": self.kernels}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "encoder": keras.saving.deserialize_keras_object(config["encoder"])})


def _build(encoder, shape):
    """Make the variables of a layer, or of layers that are applied in turn."""
    parts = layers(encoder) if isinstance(encoder, (list, tuple)) else [encoder]
    for place, part in enumerate(parts):
        if not part.built:
            part.build(shape)
        if place + 1 < len(parts):
            shape = part.compute_output_shape(shape)


def _input_axes(layer, kernel):
    """How many of a kernel's axes, which come first, are summed over."""
    if not isinstance(layer, keras.layers.EinsumDense):
        return len(kernel.shape) - 1
    inputs, rest = layer.equation.split(",")
    return sum(axis in inputs for axis in rest.split("->")[0])
