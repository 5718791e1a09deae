"""Learning to branch: a learned tree of stages."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_mtl._arguments import integer
from tf_mtl.trunks._base import Features, Trunk, as_features
from tf_mtl.trunks._stages import Encoder, copy, on_features, run, stages


@keras.saving.register_keras_serializable("tf_mtl")
class LearningToBranch(Trunk):
    r"""Several copies of every stage of an encoder, each of which learns which copy of the previous stage to read.

    Copy i of stage l reads sum_j d_ij x_j, where x_j are the outputs of the copies of stage l - 1. Each task reads the
    copies of the last stage in the same way. In training, d_i = softmax((log_softmax(theta_i) + Gumbel noise) /
    temperature) with learned theta; there is one draw per step and feature, and the temperature falls with every draw.
    In inference, d_i is 1 for the largest theta_i and 0 for all others, so that the stages form a tree, which
    `tree(model)` returns (Guo et al., "Learning to Branch for Multi-Task Learning", ICML 2020). The paper then trains
    the resulting tree from scratch.

    Args:
        encoder: An encoder in stages: a list of layers, a `keras.Sequential`, or an encoder with `stages`. Existing
            weights are copied.
        branches: Number of copies of each stage; by default the number of tasks.
        temperature: Initial temperature. This default and the next two are ours.
        decay: Factor of the temperature per training step.
        lowest: Lower limit of the temperature.

    Raises:
        ValueError: if the encoder has no stages, or an argument is out of range.

    Example:

    >>> trunk = mtl.trunks.LearningToBranch([keras.layers.Dense(8, "relu"), keras.layers.Dense(4)])
    >>> trunk(keras.Input((3,)), ["a", "b"])["a"]["pooled"].shape
    (None, 4)
    """

    def __init__(
        self,
        encoder: Encoder,
        branches: int | None = None,
        temperature: float = 5.0,
        decay: float = 0.999,
        lowest: float = 0.1,
    ):
        stages("LearningToBranch", encoder)
        branches = integer("branches", branches, 1, none=True)
        if not (0 < lowest <= temperature and 0 < decay <= 1):
            raise ValueError(
                "`temperature`, `lowest` and `decay` must satisfy 0 < lowest <= temperature and 0 < decay <= 1; "
                f"received {temperature}, {lowest} and {decay}."
            )
        self.encoder = encoder
        self.branches = branches
        self.temperature = temperature
        self.decay = decay
        self.lowest = lowest

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return for each task the features that it reads from the copies of the last stage."""
        number = self.branches or len(tasks)
        copies = [copy(stages("LearningToBranch", self.encoder), f"branch_{i}") for i in range(number)]
        outputs = [inputs]
        for level, stage_copies in enumerate(zip(*copies, strict=True)):
            stage_inputs = [inputs] * number if level == 0 else self._branch(outputs, _branch_names(level, number))
            outputs = [run("encoder", stage, x) for stage, x in zip(stage_copies, stage_inputs, strict=True)]
        outputs = self._branch(outputs, [f"branch_of_{task}" for task in tasks])
        return {task: as_features(x) for task, x in zip(tasks, outputs, strict=True)}

    def tree(self, model: keras.Model) -> dict[str, list[int]]:
        """Return for each task the indices of the copies that it reads, from the first stage to the last.

        Args:
            model: A model built with this trunk.
        """
        levels, number = len(stages("LearningToBranch", self.encoder)), self.branches or len(model.output)
        paths = {}
        for task in model.output:
            path = [model.get_layer(f"branch_of_{task}").parent()]
            for level in range(levels - 1, 0, -1):
                path.insert(0, model.get_layer(_branch_names(level, number)[path[0]]).parent())
            paths[task] = path
        return paths

    def _branch(self, outputs, names):
        layers = [Branch(self.temperature, self.decay, self.lowest, name=name) for name in names]
        return [on_features(layer, outputs)[0] for layer in layers]


@keras.saving.register_keras_serializable("tf_mtl")
class Branch(keras.layers.Layer):
    """From a list of N tensors to one of them, or in training to a sampled weighted sum; see `LearningToBranch`."""

    def __init__(self, temperature: float, decay: float, lowest: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.start = temperature
        self.decay = decay
        self.lowest = lowest
        self.supports_masking = True
        self.seed_generator = keras.random.SeedGenerator()

    def build(self, input_shape: Any) -> None:
        """Create theta [N], and the temperature."""
        self.theta = self.add_weight(shape=(len(input_shape),), initializer="zeros", name="theta")
        self.temperature = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(self.start),
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name="temperature",
        )

    def call(self, inputs: Any, training: bool = False) -> list[Any]:
        """Return `[sum_j d_j x_j]`."""
        scores = keras.ops.log_softmax(keras.ops.cast(self.theta, "float32"))
        if training:
            uniform = keras.random.uniform(scores.shape, 1e-6, 1 - 1e-6, "float32", self.seed_generator)
            weights = keras.ops.softmax((scores - keras.ops.log(-keras.ops.log(uniform))) / self.temperature)
            self.temperature.assign(keras.ops.maximum(self.temperature * self.decay, self.lowest))
        else:
            weights = keras.ops.one_hot(keras.ops.argmax(scores), len(inputs))
        return [keras.ops.tensordot(keras.ops.cast(weights, inputs[0].dtype), keras.ops.stack(inputs), 1)]

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Return the first tensor's mask, as a list like the output."""
        return None if mask is None else mask[:1]

    def parent(self) -> int:
        """Return the index of the tensor that inference chooses."""
        return int(np.argmax(self.theta.numpy()))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.start, "decay": self.decay, "lowest": self.lowest}


def _branch_names(level, number):
    return [f"branch_{level}_{index}" for index in range(number)]
