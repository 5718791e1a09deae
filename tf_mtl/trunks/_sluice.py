"""Sluice networks: an encoder for each task; subspaces of their features are mixed, and all stages summed."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl.trunks._base import Features, Trunk, as_features
from tf_mtl.trunks._cross_stitch import Stitch
from tf_mtl.trunks._stages import Encoder, copy, layers, on_features, run, stages


@keras.saving.register_keras_serializable("tf_mtl")
class Sluice(Trunk):
    r"""An encoder per task, with subspaces of the features mixed after each stage and all stages summed at the end.

    After each stage the features of each task are cut into G subspaces of equal width, and all T x G subspaces are
    mixed by a learned matrix alpha [TG, TG]. A task's next stage reads the task's mixed subspaces, concatenated. The
    task's features are sum_l beta_tl x_tl over the stages l, with learned beta (Ruder et al., "Latent Multi-task
    Architecture Learning", AAAI 2019). The sum contains only the stages whose outputs have the shape of the last one.

    The loss contains `orthogonality` times the sum over all pairs of subspaces of ||W_g^T W_h||_F^2 / (C / G)^2, where
    W_g are the columns of a stage's weights that compute subspace g of its C outputs. This penalty keeps shared and
    task-specific subspaces different.

    Args:
        encoder: An encoder in stages: a list of layers, a `keras.Sequential`, or an encoder with `stages`. Each task
            gets a copy, existing weights included.
        subspaces: The number of subspaces G; 2 in the paper.
        own_weight: Initial value of alpha's diagonal; the rest of 1 is divided among the other entries of a row.
        orthogonality: Strength of the penalty. It covers dense, convolutional and recurrent layers that are stages or
            in a stage's list, but no layers inside other layers, such as those of a Transformer. Our default.

    Raises:
        ValueError: if the encoder has no stages, an argument is out of range, or the width of a stage is not a multiple
            of `subspaces`.

    Example:

    >>> trunk = mtl.trunks.Sluice([keras.layers.Dense(8, "relu"), keras.layers.Dense(8)])
    >>> trunk(keras.Input((3,)), ["a", "b"])["a"]["pooled"].shape
    (None, 8)
    """

    def __init__(self, encoder: Encoder, subspaces: int = 2, own_weight: float = 0.9, orthogonality: float = 1e-3):
        stages("Sluice", encoder)
        subspaces = integer("subspaces", subspaces, 1)
        if not 0 <= own_weight <= 1:
            raise ValueError(f"`own_weight` must be between 0 and 1, received {own_weight}.")
        if not orthogonality >= 0:
            raise ValueError(f"`orthogonality` must be at least 0, received {orthogonality}.")
        self.encoder = encoder
        self.subspaces = subspaces
        self.own_weight = own_weight
        self.orthogonality = orthogonality

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return for each task the weighted sum of its stages' outputs."""
        copies = [copy(stages("Sluice", self.encoder), task) for task in tasks]
        outputs, levels = [inputs] * len(tasks), []
        for level, stage_copies in enumerate(zip(*copies, strict=True)):
            outputs = [run("encoder", stage, x) for stage, x in zip(stage_copies, outputs, strict=True)]
            stitch = Stitch(self.own_weight, self.subspaces, name=f"sluice_{level}")
            outputs = on_features(stitch, outputs)
            levels.append(outputs)
        features = {}
        for task, *of_task in zip(tasks, *levels, strict=True):
            same_shape = [output for output in of_task if _shapes(output) == _shapes(of_task[-1])]
            features[task] = as_features(on_features(LevelSum(name=f"levels_{task}"), same_shape)[0])
        return features

    def penalty(self, model: keras.Model) -> tf.Tensor:
        """Return the penalty on subspaces that are not orthogonal.

        Args:
            model: A model built with this trunk.
        """
        names = [f"{layer.name}_{task}" for layer in layers(stages("Sluice", self.encoder)) for task in model.output]
        overlaps = [_overlap(kernel, self.subspaces) for name in names for kernel in _kernels(model.get_layer(name))]
        return self.orthogonality * tf.add_n([tf.zeros([]), *overlaps])


@keras.saving.register_keras_serializable("tf_mtl")
class LevelSum(keras.layers.Layer):
    """A sum of L tensors of the same shape, with learned factors [L] that start at 1 / L."""

    def __init__(self, name: str = "level_sum", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Create the factors."""
        start = keras.initializers.Constant(1 / len(input_shape))
        self.beta = self.add_weight(shape=(len(input_shape),), initializer=start, name="beta")

    def call(self, inputs: Any) -> list[Any]:
        """Return the sum, as a list of one tensor."""
        return [keras.ops.tensordot(self.beta, keras.ops.stack(inputs), 1)]

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Return the first tensor's mask, as a list like the output."""
        return None if mask is None else mask[:1]


_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_DENSE_OR_RECURRENT = (keras.layers.Dense, keras.layers.SimpleRNN, keras.layers.GRU, keras.layers.LSTM)


def _shapes(output):
    return keras.tree.map_structure(lambda x: tuple(x.shape), output)


def _kernels(layer):
    """Return a layer's kernels as matrices [..., C], where C is the width of its output; none for other layers."""
    if isinstance(layer, _CONVOLUTIONS):
        width = layer.filters
    elif isinstance(layer, _DENSE_OR_RECURRENT):
        width = layer.units
    else:
        return []
    return [tf.reshape(v.value, [-1, width]) for v in layer.trainable_weights if v.name.endswith("kernel")]


def _overlap(kernel, subspaces):
    """Return the sum over pairs of subspaces of ||W_g^T W_h||_F^2 / (C / G)^2."""
    width = kernel.shape[-1] // subspaces
    products = tf.matmul(kernel, kernel, transpose_a=True)
    subspace = np.arange(kernel.shape[-1]) // width
    is_pair = tf.constant(subspace[:, None] != subspace[None, :], kernel.dtype)
    return tf.reduce_sum(products**2 * is_pair) / 2 / width**2
