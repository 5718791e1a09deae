"""Sluice networks: encoders for each task that share subspaces of their features, and features of all levels."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl.trunks._base import Features, Trunk, as_features
from tf_mtl.trunks._cross_stitch import Stitch
from tf_mtl.trunks._stages import Encoder, copy, layers, on_features, run, stages


@keras.saving.register_keras_serializable("tf_mtl")
class Sluice(Trunk):
    r"""An encoder per task; after each stage subspaces of the features are mixed, at the end the stages' outputs.

    The features of each task are cut into G subspaces of equal width, and all T x G of them mixed by a learned matrix
    alpha [TG, TG]; the next stage reads its task's mixed subspaces side by side. The task's features are sum_l beta_tl
    x_tl over the stages l, with learned beta (Ruder et al., "Latent Multi-task Architecture Learning", AAAI 2019).
    Only the stages whose outputs have the last one's shape take part in that sum. The loss contains `orthogonality`
    times the sum over all subspace pairs of ||W_g^T W_h||_F^2 / (C / G)^2, where W_g are those columns of a stage's
    weights that make subspace g of its C outputs; it keeps what is shared and what is a task's own apart.

    Args:
        encoder: An encoder in stages, of which each task gets a copy: a list of layers, a `keras.Sequential`, or an
            encoder with `stages`. Weights that it has are copied.
        subspaces: G; 2 in the paper.
        own_weight: What alpha's diagonal starts at; all others share the rest.
        orthogonality: Strength of the penalty, which covers dense, convolutional and recurrent layers among the
            stages and in their lists, but not the insides of other layers, as a Transformer's. Our default.

    Raises:
        ValueError: if the encoder has no stages, an argument is out of its range, or a stage's width is no multiple of
            `subspaces`.

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
        columns = [copy(stages("Sluice", self.encoder), task) for task in tasks]
        outputs, levels = [inputs] * len(tasks), []
        for level, same in enumerate(zip(*columns, strict=True)):
            outputs = [run("encoder", stage, x) for stage, x in zip(same, outputs, strict=True)]
            stitch = Stitch(self.own_weight, self.subspaces, name=f"sluice_{level}")
            outputs = on_features(stitch, outputs)
            levels.append(outputs)
        features = {}
        for place, task in enumerate(tasks):
            like = [level[place] for level in levels if _shapes(level[place]) == _shapes(levels[-1][place])]
            features[task] = as_features(on_features(LevelSum(name=f"levels_{task}"), like)[0])
        return features

    def penalty(self, model: keras.Model) -> tf.Tensor:
        """Return the penalty on subspaces that are made alike."""
        names = [f"{layer.name}_{task}" for layer in layers(stages("Sluice", self.encoder)) for task in model.output]
        found = [_overlap(kernel, self.subspaces) for name in names for kernel in _kernels(model.get_layer(name))]
        return self.orthogonality * tf.add_n([tf.zeros([]), *found])


@keras.saving.register_keras_serializable("tf_mtl")
class LevelSum(keras.layers.Layer):
    """From a list of L tensors of one shape to their sum, with learned factors [L] that start at 1 / L."""

    def __init__(self, name: str = "level_sum", **kwargs):
        super().__init__(name=name, **kwargs)
        self.supports_masking = True

    def build(self, input_shape):
        """Make the factors."""
        start = keras.initializers.Constant(1 / len(input_shape))
        self.beta = self.add_weight(shape=(len(input_shape),), initializer=start, name="beta")

    def call(self, inputs):
        """Return the sum, as a list of one tensor."""
        return [keras.ops.tensordot(self.beta, keras.ops.stack(inputs), 1)]

    def compute_mask(self, inputs, mask=None):
        return None if mask is None else mask[:1]


_WITH_KERNELS = (
    *(keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D),
    *(keras.layers.SimpleRNN, keras.layers.GRU, keras.layers.LSTM),
)


def _shapes(output):
    return keras.tree.map_structure(lambda x: tuple(x.shape), output)


def _kernels(layer):
    """The kernels of a dense, convolutional or recurrent layer, as matrices [..., C] that make its C outputs."""
    if not isinstance(layer, _WITH_KERNELS):
        return []
    width = layer.filters if hasattr(layer, "filters") else layer.units
    return [tf.reshape(v.value, [-1, width]) for v in layer.trainable_weights if v.name.endswith("kernel")]


def _overlap(kernel, subspaces):
    """The sum over pairs of subspaces of ||W_g^T W_h||_F^2 / (C / G)^2."""
    width = kernel.shape[-1] // subspaces
    products = tf.matmul(kernel, kernel, transpose_a=True)
    apart = tf.constant(
        [[float(i // width != j // width) for j in range(kernel.shape[-1])] for i in range(kernel.shape[-1])]
    )
    return tf.reduce_sum(products**2 * apart) / 2 / width**2
