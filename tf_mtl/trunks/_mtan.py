"""Multi-task attention network: task-specific attention on one convolutional encoder."""

from collections.abc import Sequence
from typing import Any

import keras

from tf_mtl.trunks._base import Features, Trunk, as_features
from tf_mtl.trunks._stages import Encoder, run, stages


@keras.saving.register_keras_serializable("tf_mtl")
class MTAN(Trunk):
    r"""One convolutional encoder, with an attention module for each task and stage.

    With u_j the output of the first part of stage j and p_j that of its last part, task t has the attention mask
    a_j = h_j(g_j([u_j; v_{j-1}])) and passes v_j = f_j(a_j * p_j) on to the next module. Its head reads the last v_j.
    g_j is a 1x1 convolution with ReLU and h_j one with the sigmoid, both task-specific; f_j is a 3x3 convolution with
    ReLU that the tasks share, followed by max pooling to the size of the next stage. All have batch normalisation.
    (Liu et al., "End-to-End Multi-Task Learning with Attention", CVPR 2019.)

    Args:
        encoder: A convolutional encoder in stages, such as `tf_mtl.encoders.ConvEncoder`. The entries of a stage's list
            are its parts. The size of the inputs must be known: `keras.Input((height, width, channels))`.

    Raises:
        ValueError: if the encoder has no stages, if a stage does not return a feature map [B, H, W, C] of known size,
            or if the size of a map is not a multiple of the next map's size.

    Example:

    >>> trunk = mtl.trunks.MTAN(mtl.encoders.ConvEncoder([8, 16]))
    >>> trunk(keras.Input((16, 16, 3)), ["a", "b"])["a"]["map"].shape
    (None, 8, 8, 16)
    """

    def __init__(self, encoder: Encoder):
        stages("MTAN", encoder)
        self.encoder = encoder

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return for each task the features of the last attention module."""
        maps, x = [], inputs  # (u_j, p_j)
        for stage in stages("MTAN", self.encoder):
            first, *rest = stage if isinstance(stage, list) else [stage]
            u = run("encoder", first, x)
            x = run("encoder", rest, u)
            maps.append((_feature_map(u), _feature_map(x)))
        attended: dict[str, keras.KerasTensor] = {}
        for level, (u, p) in enumerate(maps):
            channels = p.shape[-1]
            shared_convolution = _convolution(channels, 3, "relu", f"attention_{level}")
            next_map = maps[level + 1][0] if level + 1 < len(maps) else p
            for task in tasks:
                read = u if level == 0 else keras.layers.Concatenate(name=f"read_{level}_{task}")([u, attended[task]])
                hidden = _convolution(channels, 1, "relu", f"attention_{level}_g_{task}")(read)
                mask = _convolution(channels, 1, "sigmoid", f"attention_{level}_h_{task}")(hidden)
                masked = keras.layers.Multiply(name=f"attended_{level}_{task}")([mask, p])
                attended[task] = _pool_to(next_map, shared_convolution(masked), f"pool_{level}_{task}")
        return {task: as_features(x) for task, x in attended.items()}


def _convolution(filters, kernel, activation, name):
    """Return a convolution with batch normalisation and an activation."""
    convolution = keras.layers.Conv2D(filters, kernel, padding="same", use_bias=False, name=f"{name}_conv")
    normalisation = keras.layers.BatchNormalization(synchronized=True, name=f"{name}_norm")
    last = keras.layers.Activation(activation, name=f"{name}_{activation}")
    return lambda x: last(normalisation(convolution(x)))


def _pool_to(target, x, name):
    """Return a map, max-pooled to the height and width of another map."""
    sizes, target_sizes = x.shape[1:3], target.shape[1:3]
    if any(size % target_size for size, target_size in zip(sizes, target_sizes, strict=True)):
        raise ValueError(
            f"`encoder` of MTAN must have stages whose sizes are multiples of the next stage's, received a map of size "
            f"{sizes} before one of size {target_sizes}. Use padding='same', and inputs whose sizes are multiples of "
            "the strides."
        )
    factors = tuple(size // target_size for size, target_size in zip(sizes, target_sizes, strict=True))
    return x if factors == (1, 1) else keras.layers.MaxPooling2D(factors, name=name)(x)


def _feature_map(x):
    """Return `x` if it is a feature map of known size."""
    if not isinstance(x, keras.KerasTensor) or len(x.shape) != 4 or None in x.shape[1:]:
        raise ValueError(
            f"`encoder` of MTAN must have stages that return feature maps [B, H, W, C] of known size, received {x}. "
            "Use a convolutional encoder, and an input with known height and width."
        )
    return x
