"""Multi-task attention network: attention of each task's own on one convolutional encoder."""

from collections.abc import Sequence
from typing import Any

import keras

from tf_mtl.trunks._base import Features, Trunk, as_features
from tf_mtl.trunks._stages import Encoder, run, stages


@keras.saving.register_keras_serializable("tf_mtl")
class MTAN(Trunk):
    r"""One convolutional encoder, and for each task an attention module per stage.

    With u_j the output of stage j's first part and p_j that of its last, task t has the attention mask
    a_j = h_j(g_j([u_j; v_{j-1}])), and v_j = f_j(a_j * p_j) goes on to the next module; the last v_j is what it reads.
    g_j is a 1x1 convolution with ReLU and h_j one with the sigmoid, both the task's own; f_j is a 3x3 convolution with
    ReLU that the tasks share, followed by max pooling down to the size of the next stage. All have batch
    normalisation. (Liu et al., "End-to-End Multi-Task Learning with Attention", CVPR 2019.)

    Args:
        encoder: A convolutional encoder in stages, such as `tf_mtl.encoders.ConvEncoder`; a stage's parts are its
            list's entries. Sizes must be known: `keras.Input((height, width, channels))`.

    Raises:
        ValueError: if the encoder has no stages, or they do not give feature maps [B, H, W, C] whose sizes divide.

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
        pairs, x = [], inputs
        for stage in stages("MTAN", self.encoder):
            first, *rest = stage if isinstance(stage, list) else [stage]
            u = run("encoder", first, x)
            x = run("encoder", rest, u)
            pairs.append((_checked_map(u), _checked_map(x)))
        carried = dict.fromkeys(tasks)
        for level, (u, p) in enumerate(pairs):
            size = p.shape[-1]
            share = _normalised(size, 3, "relu", f"attention_{level}")
            following = pairs[level + 1][0] if level + 1 < len(pairs) else p
            for task in tasks:
                read = u if level == 0 else keras.layers.Concatenate(name=f"read_{level}_{task}")([u, carried[task]])
                hidden = _normalised(size, 1, "relu", f"attention_{level}_g_{task}")(read)
                mask = _normalised(size, 1, "sigmoid", f"attention_{level}_h_{task}")(hidden)
                attended = share(keras.layers.Multiply(name=f"attended_{level}_{task}")([mask, p]))
                carried[task] = _shrunk(attended, following, f"pool_{level}_{task}")
        return {task: as_features(x) for task, x in carried.items()}


def _normalised(filters, kernel, activation, name):
    """A convolution with batch normalisation and an activation."""
    convolution = keras.layers.Conv2D(filters, kernel, padding="same", use_bias=False, name=f"{name}_conv")
    normalisation = keras.layers.BatchNormalization(synchronized=True, name=f"{name}_norm")
    last = keras.layers.Activation(activation, name=f"{name}_{activation}")
    return lambda x: last(normalisation(convolution(x)))


def _shrunk(x, like, name):
    """Max pooling of a map to the height and width of another."""
    factors = [size // wanted for size, wanted in zip(x.shape[1:3], like.shape[1:3], strict=True)]
    if any(
        size != factor * wanted for size, factor, wanted in zip(x.shape[1:3], factors, like.shape[1:3], strict=True)
    ):
        raise ValueError(
            f"MTAN needs stages whose sizes divide those before: a map of {x.shape[1:3]} is followed by one of "
            f"{like.shape[1:3]}. Use padding='same' and inputs whose sizes are multiples of the strides."
        )
    return x if factors == [1, 1] else keras.layers.MaxPooling2D(tuple(factors), name=name)(x)


def _checked_map(x):
    if not isinstance(x, keras.KerasTensor) or len(x.shape) != 4 or None in x.shape[1:]:
        raise ValueError(
            f"MTAN needs stages that give feature maps [B, H, W, C] of known sizes, received {x}. Use a convolutional "
            "encoder, and an input with its height and width."
        )
    return x
