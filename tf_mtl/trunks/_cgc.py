"""Customized gate control: task-specific and shared experts in one level."""

import keras

from tf_mtl.trunks._extraction import ExtractionTrunk


@keras.saving.register_keras_serializable("tf_mtl")
class CGC(ExtractionTrunk):
    r"""Task-specific and shared experts, with a gate for each task over its own and the shared experts.

    Task t reads sum_i g_t(x)_i f_i(x) over its own and the shared experts, with g_t(x) = softmax(W_t x); no task reads
    another task's experts (Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model for
    Personalized Recommendations", RecSys 2020). It is `PLE` with one level.

    Args:
        encoder: A Keras layer or model from the inputs to features, or a list of layers. Use
            `keras.layers.Identity()` to let the experts read the inputs.
        expert: A layer, or a list of layers, that keeps positions. Each expert is a copy with its own weights; an
            initializer with a fixed seed would make them equal.
        task_experts: Number of experts of each task.
        shared_experts: Number of shared experts.
        tower: A layer, or a list of layers, between a task's experts and its head, copied for each task.

    Raises:
        TypeError: if `encoder`, `expert` or `tower` do not consist of layers.
        ValueError: for numbers below one, or layers that do not fit.

    Example:

    >>> trunk = mtl.trunks.CGC(keras.layers.Identity(), keras.layers.Dense(16, "relu"), shared_experts=2)
    >>> trunk(keras.Input((10,)), ["click", "buy"])["buy"]["pooled"].shape
    (None, 16)
    """

    @property
    def level_names(self) -> list[str]:
        return ["cgc"]
