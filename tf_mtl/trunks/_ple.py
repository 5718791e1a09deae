"""Progressive layered extraction: task-specific and shared experts in several levels."""

import keras

from tf_mtl._arguments import integer
from tf_mtl.trunks._extraction import ExtractionTrunk
from tf_mtl.trunks._stages import Encoder


@keras.saving.register_keras_serializable("tf_mtl")
class PLE(ExtractionTrunk):
    r"""Extraction networks in several levels, each with task-specific and shared experts.

    There are features for each task and shared features; both start as the encoder's. At each level, a task's features
    become the sum of its own and the shared experts' outputs, weighted by its gate, and the shared features the sum of
    all experts' outputs, weighted by the shared gate. A gate is softmax(W x). Gates and experts read the features of
    the task that they belong to, or the shared features. The last level needs no shared gate (Tang et al.,
    "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model for Personalized Recommendations",
    RecSys 2020).

    Args:
        encoder: A Keras layer or model from the inputs to features, or a list of layers. Use
            `keras.layers.Identity()` to let the experts read the inputs.
        expert: A layer, or a list of layers, that keeps positions. Each expert is a copy with its own weights; an
            initializer with a fixed seed would make them equal.
        task_experts: Number of experts of each task at each level.
        shared_experts: Number of shared experts at each level.
        levels: Number of extraction networks; 2 as in the paper.
        tower: A layer, or a list of layers, between a task's features and its head, copied for each task.

    Raises:
        TypeError: if `encoder`, `expert` or `tower` do not consist of layers.
        ValueError: for numbers below one, or layers that do not fit.

    Example:

    >>> trunk = mtl.trunks.PLE(keras.layers.Identity(), keras.layers.Dense(16, "relu"), levels=2)
    >>> trunk(keras.Input((10,)), ["click", "buy"])["buy"]["pooled"].shape
    (None, 16)
    """

    def __init__(
        self,
        encoder: Encoder,
        expert: Encoder,
        task_experts: int = 1,
        shared_experts: int = 1,
        levels: int = 2,
        tower: Encoder | None = None,
    ):
        super().__init__(encoder, expert, task_experts, shared_experts, tower)
        self.levels = integer("levels", levels, 1)

    @property
    def level_names(self) -> list[str]:
        return [f"level_{level}" for level in range(self.levels)]
