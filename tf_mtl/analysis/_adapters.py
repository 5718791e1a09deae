"""How much the tasks' adapters change the encoder."""

from tf_mtl._model import MultiTaskModel


def adapter_norms(model: MultiTaskModel) -> dict[str, dict[str, float]]:
    r"""Return how much each task's adapters change the encoder, by layer.

    - `LoRA`: $\frac{\alpha}{r} \lVert A_t B_t \rVert_F / \lVert W \rVert_F$, the change of each kernel relative to it.
    - `Adapters`: $\lVert D U \rVert_F$ of each adapter's two kernels, without its ReLU and normalisation.

    All are 0 before training. A layer with small norms for all tasks needs no adapters; a task with large ones differs
    from what the encoder was trained for.

    Args:
        model: A model built with the trunk `LoRA` or `Adapters`, or one that defines `adapter_norms`.

    Returns:
        `{task: {layer: norm}}`; a layer of `LoRA` is the path of its kernel.

    Raises:
        ValueError: for a model without adapters.

    Example:

    >>> encoder = [keras.layers.Dense(8, "relu"), keras.layers.Dense(4)]
    >>> tasks = [mtl.tasks.Regression(name) for name in ("a", "b")]
    >>> model = mtl.build_model(keras.Input((6,)), mtl.trunks.Adapters(encoder, bottleneck=2), tasks)
    >>> mtl.analysis.adapter_norms(model)["a"]
    {'adapter_0_a': 0.0, 'adapter_1_a': 0.0}

    References: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022; Houlsby et al.,
    "Parameter-Efficient Transfer Learning for NLP", ICML 2019.
    """
    norms = {} if model.trunk is None else model.trunk.adapter_norms(model)
    if not norms:
        raise ValueError(
            "`model` must have adapters, as models with the trunks LoRA and Adapters do, received one with "
            f"{'no trunk' if model.trunk is None else type(model.trunk).__name__}."
        )
    return norms
