"""Cross-stitch networks: an encoder for each task, with the tasks' features mixed after every stage."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_mtl.trunks._base import Features, Trunk, as_features
from tf_mtl.trunks._stages import Encoder, copy, on_features, run, stages


@keras.saving.register_keras_serializable("tf_mtl")
class CrossStitch(Trunk):
    r"""An encoder per task, with a cross-stitch unit after each stage.

    From the tasks' features x_1 ... x_T a unit computes the inputs of the next stages, sum_s alpha_ts x_s for task t,
    with learned alpha [T, T] (Misra et al., "Cross-stitch Networks for Multi-task Learning", CVPR 2016). With
    `own_weight=1` the network starts as T separate ones. (The paper trains alpha with a learning rate 100 to 1000 times
    that of the network.)

    Args:
        encoder: An encoder in stages: a list of layers, a `keras.Sequential`, or an encoder with `stages`. Each task
            gets a copy, existing weights included.
        own_weight: Initial value of alpha_tt; the rest of 1 is divided among the other tasks. 0.9, as in the paper's
            experiments.

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
        """Return for each task the features of its encoder's last stage, mixed with those of the other tasks."""
        copies = [copy(stages("CrossStitch", self.encoder), task) for task in tasks]
        outputs = [inputs] * len(tasks)
        for level, stage_copies in enumerate(zip(*copies, strict=True)):
            outputs = [run("encoder", stage, x) for stage, x in zip(stage_copies, outputs, strict=True)]
            outputs = on_features(Stitch(self.own_weight, name=f"cross_stitch_{level}"), outputs)
        return {task: as_features(output) for task, output in zip(tasks, outputs, strict=True)}


@keras.saving.register_keras_serializable("tf_mtl")
class Stitch(keras.layers.Layer):
    """From a list of N tensors [..., C] to N linear combinations of them, subspace by subspace.

    The last axis of each tensor is cut into G subspaces; a learned matrix [NG, NG] combines all NG of them.

    Args:
        own_weight: Initial value of the diagonal; the rest of each row is (1 - own_weight) / (NG - 1).
        subspaces: The number of subspaces G.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`.

    Raises:
        ValueError: if the size of the last axis is not a multiple of `subspaces`.
    """

    def __init__(self, own_weight: float = 0.9, subspaces: int = 1, name: str = "stitch", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.own_weight = own_weight
        self.subspaces = subspaces
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Create the matrix for N tensors."""
        width, number = input_shape[0][-1], len(input_shape) * self.subspaces
        if width % self.subspaces:
            raise ValueError(
                f"`subspaces` must divide the width of every stage, received {self.subspaces} and a stage of width "
                f"{width}. Choose a divisor of the stages' widths."
            )
        start = np.full((number, number), (1 - self.own_weight) / max(number - 1, 1))
        np.fill_diagonal(start, self.own_weight if number > 1 else 1)
        self.alpha = self.add_weight(
            shape=(number, number), initializer=lambda shape, dtype: keras.ops.cast(start, dtype), name="alpha"
        )

    def call(self, inputs: Any) -> list[Any]:
        """Return the N combinations."""
        parts = [part for x in inputs for part in keras.ops.split(x, self.subspaces, -1)]
        mixed = keras.ops.unstack(keras.ops.tensordot(self.alpha, keras.ops.stack(parts), 1), len(parts))
        size = self.subspaces
        return [keras.ops.concatenate(mixed[i : i + size], -1) for i in range(0, len(mixed), size)]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "own_weight": self.own_weight, "subspaces": self.subspaces}
