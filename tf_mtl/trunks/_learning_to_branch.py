"""Learning to branch: a tree of stages whose branches are learned."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_mtl._arguments import integer
from tf_mtl.trunks._base import Features, Trunk, as_features
from tf_mtl.trunks._stages import Encoder, copy, on_features, run, stages


@keras.saving.register_keras_serializable("tf_mtl")
class LearningToBranch(Trunk):
    r"""Several copies of every stage of an encoder, each of which learns which copy of the stage below it continues.

    A copy i of stage l reads sum_j d_ij x_j, where x_j are the outputs of the copies of stage l - 1; so does each task
    from the last stage's. In training d_i = softmax((log_softmax(theta_i) + Gumbel noise) / temperature) with learned
    theta, one draw per step and feature, and the temperature falls with every draw; in inference d_i is 1 for the
    largest theta_i and 0 for all others, so that the stages form a tree, which `tree(model)` tells (Guo et al.,
    "Learning to Branch for Multi-Task Learning", ICML 2020). The paper then trains the tree that was found anew.

    Args:
        encoder: An encoder in stages: a list of layers, a `keras.Sequential`, or an encoder with `stages`. Weights
            that it has are copied.
        branches: Number of copies of each stage; by default as many as tasks.
        temperature: The temperature at the beginning. This and the next two are our defaults.
        decay: Factor of the temperature per training step.
        lowest: The temperature's lower limit.

    Raises:
        ValueError: if the encoder has no stages, or an argument is out of its range.

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
                "The temperature must fall from `temperature` to `lowest`, above 0, by the factor `decay`, above 0 and "
                f"at most 1; received {temperature}, {lowest}, {decay}."
            )
        self.encoder = encoder
        self.branches = branches
        self.temperature = temperature
        self.decay = decay
        self.lowest = lowest

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return for each task the features of the copy of the last stage that it reads."""
        number = self.branches or len(tasks)
        columns = [copy(stages("LearningToBranch", self.encoder), f"branch_{i}") for i in range(number)]
        outputs = [inputs]
        for level, same in enumerate(zip(*columns, strict=True)):
            below = [inputs] * number if level == 0 else self._chosen(outputs, _parents(level, number))
            outputs = [run("encoder", stage, x) for stage, x in zip(same, below, strict=True)]
        read = self._chosen(outputs, [f"branch_of_{task}" for task in tasks])
        return {task: as_features(x) for task, x in zip(tasks, read, strict=True)}

    def tree(self, model: keras.Model) -> dict[str, list[int]]:
        """Return for each task of a model built with this trunk the copy of each stage that it reads, from below."""
        levels, number = len(stages("LearningToBranch", self.encoder)), self.branches or len(model.output)
        paths = {}
        for task in model.output:
            path = [model.get_layer(f"branch_of_{task}").parent()]
            for level in range(levels - 1, 0, -1):
                path.insert(0, model.get_layer(_parents(level, number)[path[0]]).parent())
            paths[task] = path
        return paths

    def _chosen(self, outputs, names):
        layers = [Branch(self.temperature, self.decay, self.lowest, name=name) for name in names]
        return [on_features(layer, outputs)[0] for layer in layers]


@keras.saving.register_keras_serializable("tf_mtl")
class Branch(keras.layers.Layer):
    """From a list of N tensors to one of them, or in training to a sampled mixture; see `LearningToBranch`."""

    def __init__(self, temperature: float, decay: float, lowest: float, **kwargs):
        super().__init__(**kwargs)
        self.start = temperature
        self.decay = decay
        self.lowest = lowest
        self.supports_masking = True
        self.seed_generator = keras.random.SeedGenerator()

    def build(self, input_shape):
        """Make theta [N], and the temperature."""
        self.theta = self.add_weight(shape=(len(input_shape),), initializer="zeros", name="theta")
        self.temperature = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(self.start),
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name="temperature",
        )

    def call(self, inputs, training=False):
        """Return `[sum_j d_j x_j]`."""
        scores = keras.ops.log_softmax(keras.ops.cast(self.theta, "float32"))
        if training:
            uniform = keras.random.uniform(scores.shape, 1e-6, 1 - 1e-6, "float32", self.seed_generator)
            chosen = keras.ops.softmax((scores - keras.ops.log(-keras.ops.log(uniform))) / self.temperature)
            self.temperature.assign(keras.ops.maximum(self.temperature * self.decay, self.lowest))
        else:
            chosen = keras.ops.one_hot(keras.ops.argmax(scores), len(inputs))
        return [keras.ops.tensordot(keras.ops.cast(chosen, inputs[0].dtype), keras.ops.stack(inputs), 1)]

    def compute_mask(self, inputs, mask=None):
        return None if mask is None else mask[:1]

    def parent(self) -> int:
        """Return which of the tensors inference takes."""
        return int(np.argmax(self.theta.numpy()))

    def get_config(self):
        return {**super().get_config(), "temperature": self.start, "decay": self.decay, "lowest": self.lowest}


def _parents(level, number):
    return [f"branch_{level}_{place}" for place in range(number)]
