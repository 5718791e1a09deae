"""Which experts the tasks' gates choose."""

import itertools
from typing import Any, NamedTuple

import numpy as np

from tf_mtl._model import MultiTaskModel
from tf_mtl.analysis._head_inputs import HeadReader
from tf_mtl.analysis._inputs import batches
from tf_mtl.report import table


class GateWeights(NamedTuple):
    """The mean weights of a set of experts; `print` shows a table.

    Attributes:
        tasks: What the gates compute sums for: tasks, and "shared" for the shared features of `tf_mtl.trunks.PLE`.
        experts: The names of the experts' last layers.
        weights: The mean weight of each expert in each task's sum, [tasks, experts]; 0 for experts that it does not
            contain.
    """

    tasks: tuple[str, ...]
    experts: tuple[str, ...]
    weights: np.ndarray

    def __str__(self) -> str:
        rows = [[task, *row] for task, row in zip(self.tasks, self.weights.tolist(), strict=True)]
        return table(["task", *self.experts], rows)


def gates(model: MultiTaskModel, x: Any) -> dict[str, GateWeights]:
    r"""Return the mean weights that the tasks' gates give to experts.

    $$\bar g_{ti} = \frac{1}{N} \sum_{n=1}^N g_t(x_n)_i$$

    over the rows or, where experts compute sequences, over the tokens that heads read: those that are not padding, or
    the first ones of words. Each task's weights sum to 1. Tasks with similar weights use the same experts; an expert
    with weights near 0 is not used.

    Args:
        model: A model built with the trunk `MMoE`, `DSelectK`, `CGC` or `PLE`, or one that defines `gated_layers`.
        x: Inputs as `model.predict` takes them, as arrays or a data set of batches, with or without labels.

    Returns:
        The weights of each set of experts: "experts" for `MMoE` and `DSelectK`, "cgc" for `CGC`, and "level_0",
        "level_1", ... for `PLE`.

    Raises:
        ValueError: for a model without gates or without task objects, an endless data set, or no rows.

    Example:

    >>> trunk = mtl.trunks.MMoE(keras.layers.Identity(), keras.layers.Dense(4, "relu", name="relu"), experts=2)
    >>> model = mtl.build_model(keras.Input((6,)), trunk, [mtl.tasks.Regression(name) for name in ("a", "b")])
    >>> tasks, experts, weights = mtl.analysis.gates(model, np.ones((8, 6)))["experts"]
    >>> tasks, experts, weights.sum(1).round(3).tolist()
    (('a', 'b'), ('relu_expert_0', 'relu_expert_1'), [1.0, 1.0])

    References: the trunks name those of the architectures.
    """
    sets = {} if model.trunk is None else model.trunk.gated_layers(model.task_names)
    if not sets:
        raise ValueError(
            "`model` must have gates, as models with the trunks MMoE, DSelectK, CGC and PLE do, received one with "
            f"{'no trunk' if model.trunk is None else type(model.trunk).__name__}."
        )
    nodes: dict[str, list[Any]] = {}
    for node in itertools.chain(*model._nodes_by_depth.values()):
        nodes.setdefault(node.operation.name, []).append(node)
    means = _means(model, x, {layer: nodes[layer] for by_reader in sets.values() for layer in by_reader.values()})
    experts = {
        layer: [tensor._keras_history.operation.name for tensor in nodes[layer][0].input_tensors[1:]] for layer in means
    }
    results = {}
    for name, by_reader in sets.items():
        of_set = tuple(dict.fromkeys(expert for layer in by_reader.values() for expert in experts[layer]))
        weights = np.zeros((len(by_reader), len(of_set)))
        for row, layer in zip(weights, by_reader.values(), strict=True):
            row[[of_set.index(expert) for expert in experts[layer]]] = means[layer]
        results[name] = GateWeights(tuple(by_reader), of_set, weights)
    return results


def _means(model, x, nodes):
    """The mean weights by layer, from the nodes of the graph at which it is called, one for each feature."""
    read = HeadReader(model, {layer: [node.input_tensors[0] for node in calls] for layer, calls in nodes.items()})
    sums, counts = dict.fromkeys(nodes, 0.0), dict.fromkeys(nodes, 0)
    for inputs in batches(x):
        features, weights = read(inputs)
        for layer, by_call in weights.items():
            for gate in map(np.asarray, by_call):
                rows = gate[_valid(gate.shape[:-1], features)].astype("float64")
                sums[layer], counts[layer] = sums[layer] + rows.sum(0), counts[layer] + len(rows)
    return {layer: sums[layer] / max(counts[layer], 1) for layer in nodes}


def _valid(shape, features):
    """Which of a gate's positions a head reads; all, where no head reads features of this shape."""
    masks = [each.valid for each in features.values() if each.valid.shape == shape]
    return np.any(masks, 0) if masks else np.ones(shape, bool)
