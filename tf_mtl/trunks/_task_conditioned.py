"""One encoder that is conditioned on the task, by task embeddings and FiLM."""

from collections.abc import Sequence
from typing import Any

import keras

from tf_mtl._arguments import integer
from tf_mtl.trunks._base import Features, Trunk, as_features
from tf_mtl.trunks._stages import Encoder, on_feature, run, stages


@keras.saving.register_keras_serializable("tf_mtl")
class TaskConditioned(Trunk):
    r"""One encoder, with its features scaled and shifted after each stage depending on a task embedding.

    With e_t the embedding of task t, features x become (1 + G e_t) * x + H e_t, channel by channel. Each stage has its
    own G and H, which the tasks share (FiLM: Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer",
    AAAI 2018). G and H start at zero, so the network starts as the encoder. All stages but the first run once per task.

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
        """Return for each task the features of the encoder conditioned on it."""
        embeddings = [TaskEmbedding(self.dim, name=f"embedding_of_{task}") for task in tasks]
        first, *further = stages("TaskConditioned", self.encoder)
        outputs = _modulate([run("encoder", first, inputs)] * len(tasks), embeddings, level=0)
        for level, stage in enumerate(further, start=1):
            outputs = _modulate([run("encoder", stage, x) for x in outputs], embeddings, level)
        return {task: as_features(x) for task, x in zip(tasks, outputs, strict=True)}


@keras.saving.register_keras_serializable("tf_mtl")
class TaskEmbedding(keras.layers.Layer):
    """A learned vector [1, dim], whatever the inputs."""

    def __init__(self, dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.dim = dim

    def build(self, input_shape: Any) -> None:
        """Create the vector."""
        self.embedding = self.add_weight(shape=(1, self.dim), initializer="normal", name="embedding")

    def call(self, inputs: Any) -> Any:
        """Return the vector."""
        return self.embedding * 1

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """Return no mask: the vector has no positions."""

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dim": self.dim}


@keras.saving.register_keras_serializable("tf_mtl")
class FiLM(keras.layers.Layer):
    """From features [..., C] and an embedding [1, D] to (1 + G e) * x + H e."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Create G and H."""
        shape = (input_shape[1][-1], input_shape[0][-1])
        self.scale = self.add_weight(shape=shape, initializer="zeros", name="scale")
        self.shift = self.add_weight(shape=shape, initializer="zeros", name="shift")

    def call(self, inputs: Any) -> Any:
        """Return the modulated features."""
        x, embedding = inputs
        return x * (1 + keras.ops.matmul(embedding, self.scale)[0]) + keras.ops.matmul(embedding, self.shift)[0]

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Return the features' mask."""
        return None if mask is None else mask[0]


def _modulate(outputs, embeddings, level):
    """Return the tasks' outputs, each modulated by its task's embedding."""
    film = FiLM(name=f"film_{level}")

    def modulated(output, embedding):
        return on_feature(lambda x: film([x, embedding(x)]), output)

    return [modulated(output, embedding) for output, embedding in zip(outputs, embeddings, strict=True)]
