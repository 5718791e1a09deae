"""One encoder that is told which task it works for, by task embeddings and FiLM."""

from collections.abc import Sequence
from typing import Any

import keras

from tf_mtl._arguments import integer
from tf_mtl.trunks._base import Features, Trunk, as_features
from tf_mtl.trunks._stages import Encoder, on_features, run, stages


@keras.saving.register_keras_serializable("tf_mtl")
class TaskConditioned(Trunk):
    r"""One encoder, whose features are scaled and shifted after each stage by what a task embedding says.

    With e_t the embedding of task t, features x become (1 + G e_t) * x + H e_t, channel by channel; G and H belong to
    the stage and are shared by the tasks (FiLM: Perez et al., "FiLM: Visual Reasoning with a General Conditioning
    Layer", AAAI 2018). G and H start at zero, and so the network as the encoder. All stages but the first run once per
    task.

    Args:
        encoder: An encoder in stages: a list of layers, a `keras.Sequential`, or an encoder with `stages`.
        dim: Size of the task embeddings. Our default.

    Raises:
        ValueError: if the encoder has no stages, or for a `dim` below one.

    Example:

    >>> trunk = mtl.trunks.TaskConditioned([keras.layers.Dense(8, "relu"), keras.layers.Dense(4)])
    >>> trunk(keras.Input((3,)), ["a", "b"])["a"]["pooled"].shape
    (None, 4)
    """

    def __init__(self, encoder: Encoder, dim: int = 16):
        stages("TaskConditioned", encoder)
        self.encoder = encoder
        self.dim = integer("dim", dim, 1)

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return for each task the features of the encoder told of that task."""
        embeddings = [TaskEmbedding(self.dim, name=f"embedding_of_{task}") for task in tasks]
        outputs = [inputs] * len(tasks)
        for level, stage in enumerate(stages("TaskConditioned", self.encoder)):
            shared = [run("encoder", stage, inputs)] * len(tasks) if level == 0 else None
            encoded = shared or [run("encoder", stage, x) for x in outputs]
            film = FiLM(name=f"film_{level}")
            outputs = [_modulated(x, film, e) for x, e in zip(encoded, embeddings, strict=True)]
        return {task: as_features(x) for task, x in zip(tasks, outputs, strict=True)}


@keras.saving.register_keras_serializable("tf_mtl")
class TaskEmbedding(keras.layers.Layer):
    """A learned vector [1, dim], whatever the inputs."""

    def __init__(self, dim: int, **kwargs):
        super().__init__(**kwargs)
        self.dim = dim

    def build(self, input_shape):
        """Make the vector."""
        self.embedding = self.add_weight(shape=(1, self.dim), initializer="normal", name="embedding")

    def call(self, inputs):
        """Return the vector."""
        return self.embedding * 1

    def compute_mask(self, inputs, mask=None):
        return None

    def get_config(self):
        return {**super().get_config(), "dim": self.dim}


@keras.saving.register_keras_serializable("tf_mtl")
class FiLM(keras.layers.Layer):
    """From features [..., C] and an embedding [1, D] to (1 + G e) * x + H e."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, input_shape):
        """Make G and H."""
        shape = (input_shape[1][-1], input_shape[0][-1])
        self.scale = self.add_weight(shape=shape, initializer="zeros", name="scale")
        self.shift = self.add_weight(shape=shape, initializer="zeros", name="shift")

    def call(self, inputs):
        """Return the modulated features."""
        x, embedding = inputs
        return x * (1 + keras.ops.matmul(embedding, self.scale)[0]) + keras.ops.matmul(embedding, self.shift)[0]

    def compute_mask(self, inputs, mask=None):
        return None if mask is None else mask[0]


def _modulated(output, film, embedding):
    return on_features(lambda xs: [film([xs[0], embedding(xs[0])])], [output])[0]
