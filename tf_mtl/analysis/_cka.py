"""How similar the features are that tasks read."""

import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_mtl._model import MultiTaskModel
from tf_mtl.analysis._head_inputs import HeadReader
from tf_mtl.analysis._inputs import batches
from tf_mtl.report import table


@dataclass(frozen=True)
class Similarity:
    """How similar the features are that the tasks' heads read; `print` shows a table.

    Attributes:
        tasks: The tasks' names, T of them.
        matrix: The CKA of each two tasks' features, [T, T].
    """

    tasks: tuple[str, ...]
    matrix: np.ndarray

    def __str__(self) -> str:
        rows = [[task, *row] for task, row in zip(self.tasks, self.matrix.tolist(), strict=True)]
        return table(["task", *self.tasks], rows)


def similarity(model: MultiTaskModel, x: Any) -> Similarity:
    """Return the linear CKA between the features that the tasks' heads read; see `cka`.

    It is computed over all rows at one time, so all features are held in memory. Two sequences or maps with the same
    positions are compared position by position, at those that both heads read: tokens that are not padding, or the
    first tokens of words. Otherwise, one of them being a vector, the means over positions are compared, row by row.
    Of a head that reads several features, such as that of `tf_mtl.tasks.Matching`, the first counts.

    Args:
        model: A model built with task objects.
        x: Inputs as `model.predict` takes them, as arrays or a data set of batches, with or without labels.

    Returns:
        A `Similarity`; 1 for tasks that read the same features, NaN for features that are the same in all rows.

    Raises:
        ValueError: for a model without task objects, an endless data set, or no rows.

    Example:

    >>> trunk = mtl.trunks.CrossStitch(mtl.encoders.MLPEncoder([8, 4]))
    >>> model = mtl.build_model(keras.Input((6,)), trunk, [mtl.tasks.Regression(name) for name in ("a", "b")])
    >>> similarity = mtl.analysis.similarity(model, np.random.default_rng(0).normal(size=(64, 6)))
    >>> similarity.matrix.diagonal().round(6), bool(0 < similarity.matrix[0, 1] < 1)
    (array([1., 1.]), True)

    Reference: Kornblith et al., "Similarity of neural network representations revisited", ICML 2019.
    """
    read = HeadReader(model)
    rows: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    for inputs in batches(x):
        features, _ = read(inputs)
        for one, other in itertools.combinations_with_replacement(features, 2):
            rows[one, other].append(_aligned(features[one], features[other]))
    tasks = model.task_names
    matrix = np.zeros((len(tasks), len(tasks)))
    for (one, other), parts in rows.items():
        i, j = tasks.index(one), tasks.index(other)
        matrix[i, j] = matrix[j, i] = cka(*map(np.concatenate, zip(*parts, strict=True)))
    return Similarity(tasks, matrix)


def cka(a: Any, b: Any) -> float:
    r"""Return the linear CKA of two representations of the same rows.

    $$\frac{\lVert A^\top B \rVert_F^2}{\lVert A^\top A \rVert_F \, \lVert B^\top B \rVert_F}$$

    with the mean over rows subtracted from each column of $A$ and $B$ (centred kernel alignment of linear kernels). It
    lies between 0 and 1, and does not change when a representation is rotated or scaled. With fewer rows than columns
    it is biased upwards: unrelated representations are then similar too.

    Args:
        a: Features [N, D].
        b: Features [N, E] of the same rows.

    Returns:
        The similarity; NaN if one of them is the same in all rows.

    Raises:
        ValueError: for arrays of another rank, or with different numbers of rows.

    Example:

    >>> a = np.random.default_rng(0).normal(size=(100, 3))
    >>> round(mtl.analysis.cka(a, 5 * a[:, ::-1]), 6)
    1.0

    Reference: Kornblith et al., "Similarity of neural network representations revisited", ICML 2019.
    """
    a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b) or not len(a):
        raise ValueError(
            "`a` and `b` must be [N, D] and [N, E], with the same number of rows and at least one, received the shapes "
            f"{a.shape} and {b.shape}."
        )
    a, b = a - a.mean(0), b - b.mean(0)
    norms = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    return float(np.linalg.norm(a.T @ b) ** 2 / norms) if norms > 0 else float("nan")


def _aligned(one, other):
    """The rows [N, D] and [N, E] of a batch at which two tasks' features are compared."""
    if one.valid.shape != other.valid.shape:
        return _means(one), _means(other)
    both = one.valid & other.valid
    return one.values[both], other.values[both]


def _means(features):
    """The means over positions, [B, D]; zeros for rows without a valid one."""
    axes = tuple(range(1, features.valid.ndim))
    counts = features.valid.sum(axes).reshape(-1, 1)
    return np.where(features.valid[..., None], features.values, 0).sum(axes) / np.maximum(counts, 1)
