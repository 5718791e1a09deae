"""Cross-stitch networks: an encoder for each task, whose features are mixed after every stage."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_mtl.trunks._base import Features, Trunk, as_features
from tf_mtl.trunks._stages import Encoder, copy, on_features, run, stages


@keras.saving.register_keras_serializable("tf_mtl")
class CrossStitch(Trunk):
    r"""An encoder per task, with a cross-stitch unit after each stage.

    A unit makes from the tasks' features x_1 ... x_T the next stages' inputs sum_s alpha_ts x_s, with learned alpha
    [T, T] (Misra et al., "Cross-stitch Networks for Multi-task Learning", CVPR 2016). With `own_weight=1` the network
    starts as T separate ones. (The paper trains alpha with a learning rate 100 to 1000 times the network's.)

    Args:
        encoder: An encoder in stages, of which each task gets a copy: a list of layers, a `keras.Sequential`, or an
            encoder with `stages`. Weights that it has are copied.
        own_weight: What alpha_tt starts at; the other tasks share the rest. 0.9, as in the paper's experiments.

    Raises:
        ValueError: if the encoder has no stages, or `own_weight` is outside [0, 1].

    Example:

    >>> trunk = mtl.trunks.CrossStitch([keras.layers.Dense(8, "relu"), keras.layers.Dense(4)])
    >>> trunk(keras.Input((3,)), ["a", "b"])["a"]["pooled"].shape
    (None, 4)
    """

    def __init__(self, encoder: Encoder, own_weight: float = 0.9):
        stages("CrossStitch", encoder)
        if not 0 <= own_weight <= 1:
            raise ValueError(f"`own_weight` must be between 0 and 1, received {own_weight}.")
        self.encoder = encoder
        self.own_weight = own_weight

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return for each task the features of its encoder's last stage, mixed with the others'."""
        columns = [copy(stages("CrossStitch", self.encoder), task) for task in tasks]
        outputs = [inputs] * len(tasks)
        for level, same in enumerate(zip(*columns, strict=True)):
            outputs = [run("encoder", stage, x) for stage, x in zip(same, outputs, strict=True)]
            outputs = on_features(Stitch(self.own_weight, name=f"cross_stitch_{level}"), outputs)
        return {task: as_features(output) for task, output in zip(tasks, outputs, strict=True)}


@keras.saving.register_keras_serializable("tf_mtl")
class Stitch(keras.layers.Layer):
    """From a list of N tensors [..., C] to N mixtures of them, by a learned matrix [NG, NG] of their G subspaces each.

    Args:
        own_weight: What the diagonal starts at; the rest of each row is (1 - own_weight) / (NG - 1).
        subspaces: G, into which the last axis is cut.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`.

    Raises:
        ValueError: if the last axis is no multiple of `subspaces`.
    """

    def __init__(self, own_weight: float = 0.9, subspaces: int = 1, name: str = "stitch", **kwargs):
        super().__init__(name=name, **kwargs)
        self.own_weight = own_weight
        self.subspaces = subspaces
        self.supports_masking = True

    def build(self, input_shape):
        """Make the matrix for N tensors."""
        width, number = input_shape[0][-1], len(input_shape) * self.subspaces
        if width % self.subspaces:
            raise ValueError(f"`subspaces` must divide the stages' widths; {self.subspaces} does not divide {width}.")
        start = np.full((number, number), (1 - self.own_weight) / max(number - 1, 1))
        np.fill_diagonal(start, self.own_weight if number > 1 else 1)
        self.alpha = self.add_weight(
            shape=(number, number), initializer=lambda shape, dtype: keras.ops.cast(start, dtype), name="alpha"
        )

    def call(self, inputs):
        """Return the N mixtures."""
        parts = [part for x in inputs for part in keras.ops.split(x, self.subspaces, -1)]
        mixed = keras.ops.unstack(keras.ops.tensordot(self.alpha, keras.ops.stack(parts), 1), len(parts))
        size = self.subspaces
        return [keras.ops.concatenate(mixed[i : i + size], -1) for i in range(0, len(mixed), size)]

    def get_config(self):
        return {**super().get_config(), "own_weight": self.own_weight, "subspaces": self.subspaces}
