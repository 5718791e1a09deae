"""How steps for one task change the losses of the others."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl._assertions import readable_errors
from tf_mtl._engine.affinity import gradient_step, layers, optimizer_step, probe
from tf_mtl._model import MultiTaskModel
from tf_mtl._pipeline.checks import with_checks
from tf_mtl._pipeline.ranks import traced_by_rank
from tf_mtl.analysis._overlap import overlap
from tf_mtl.report import table

ENOUGH = 0.3  # the share of common rows below which gradients mostly differ by their rows


@dataclass(frozen=True)
class Affinity:
    """What batches say about each two of T tasks, on average; `print` shows the affinities.

    Attributes:
        tasks: The tasks' names.
        matrix: The affinity of task i (row) onto task j (column), [T, T]; NaN where no batch has labels of both.
        cosines: By layer with shared variables, the cosines of the tasks' gradients, [T, T].
        conflicts: By layer, the fraction of pairs of tasks, over all batches, whose gradients have a negative cosine.
        common: The rows that both tasks label over those that one of them labels, [T, T].
        norms: The mean norm of each task's gradient of the shared variables; NaN where no batch has labels of it.
    """

    tasks: tuple[str, ...]
    matrix: np.ndarray
    cosines: dict[str, np.ndarray]
    conflicts: dict[str, float]
    common: np.ndarray
    norms: dict[str, float]

    @property
    def few_common_rows(self) -> list[tuple[str, str]]:
        """The pairs of tasks that label less than 30% of their rows in common."""
        pairs = zip(*np.triu_indices(len(self.tasks), 1), strict=True)
        return [(self.tasks[i], self.tasks[j]) for i, j in pairs if not self.common[i, j] >= ENOUGH]

    def __str__(self) -> str:
        rows = [[f"step for {task}", *row] for task, row in zip(self.tasks, self.matrix.tolist(), strict=True)]
        return table(["", *(f"loss of {task}" for task in self.tasks)], rows, digits=4)


class Affinities:
    """Measures affinities on batches, and averages them.

    Args:
        model: A compiled model.
        update: See `affinity`.
        learning_rate: See `affinity`.
    """

    def __init__(self, model: MultiTaskModel, update: str = "gradient", learning_rate: float | None = None):
        self._model, self._update, self._rate = model, checked_update(update), learning_rate
        engine = model._engine_for("affinity")
        engine.parts.check_shared("affinity")
        if update == "optimizer" and model.distribute_strategy.num_replicas_in_sync > 1:
            raise ValueError('update="optimizer" is not supported on several replicas. Use "gradient".')
        model._build_optimizer()
        self.tasks = engine.parts.tasks
        self._layers = [name for name, _ in layers(engine.parts)]
        self._probe = traced_by_rank(self._probe_on, autograph=False)

    def empty(self) -> list[np.ndarray]:
        """Return the sums over no batch."""
        count, size = len(self.tasks), len(self._layers)
        by_layer = [np.zeros((size, count, count)) for _ in range(3)]
        return [np.zeros((count, count)) for _ in range(3)] + by_layer + [np.zeros(count) for _ in range(2)]

    def add(self, sums: Sequence[np.ndarray], batch: Any) -> list[np.ndarray]:
        """Return the sums with those of a batch.

        Args:
            sums: What `empty` or an earlier call returned.
            batch: (x, {task: y}) or (x, {task: y}, {task: weight}).
        """
        engine = self._model._engine_for("affinity")
        data = with_checks(keras.utils.unpack_x_y_sample_weight(batch), engine.rules)
        rate = self._model.optimizer.learning_rate if self._rate is None else self._rate
        with readable_errors():
            affinity, gramians = (
                part.numpy().astype("float64") for part in self._probe(*data, tf.convert_to_tensor(rate))
            )
        norms = np.sqrt(np.maximum(np.diagonal(gramians, axis1=1, axis2=2), 0))
        products = norms[:, :, None] * norms[:, None]
        cosines = np.divide(gramians, products, out=np.full(gramians.shape, np.nan), where=products > 0)
        rows = overlap(data)
        order = [rows.tasks.index(task) for task in self.tasks]
        is_measured = [~np.isnan(part) for part in (affinity, cosines)]
        new = [
            np.where(is_measured[0], affinity, 0),
            is_measured[0],
            rows.counts[np.ix_(order, order)],
            np.where(is_measured[1], cosines, 0),
            is_measured[1],
            cosines < 0,
            np.sqrt((norms**2).sum(0)),
            np.diag(is_measured[0]),
        ]
        return [one + other for one, other in zip(sums, new, strict=True)]

    def mean(self, sums: Sequence[np.ndarray]) -> Affinity:
        """Return the means of sums."""
        affinity, batches, counts, cosines, measured, negative, norms, labelled_batches = sums
        labelled = np.diag(counts)
        either = labelled[:, None] + labelled - counts
        by_layer = _ratio(cosines, measured)
        upper = np.triu_indices(len(self.tasks), 1)
        conflicts = _ratio(negative[:, *upper].sum(1), measured[:, *upper].sum(1))
        return Affinity(
            self.tasks,
            _ratio(affinity, batches),
            dict(zip(self._layers, by_layer, strict=True)),
            dict(zip(self._layers, conflicts.tolist(), strict=True)),
            _ratio(counts, either),
            dict(zip(self.tasks, _ratio(norms, labelled_batches).tolist(), strict=True)),
        )

    def _probe_on(self, x, y, weight, rate):
        engine = self._model._engine_for("affinity")
        labels = engine.objectives.unpack_labels(y, weight)
        moves = {"gradient": gradient_step(rate), "optimizer": optimizer_step, "first_order": None}
        return probe(self._model, engine.objectives, engine.parts, x, labels, moves[self._update], rate)


def affinity(
    model: MultiTaskModel, batches: Iterable[Any], update: str = "gradient", learning_rate: float | None = None
) -> Affinity:
    r"""Return how much a step for each task reduces the losses of the others, at the model's present weights.

    $$Z_{ij} = 1 - \frac{L_j(\theta - \eta g_i)}{L_j(\theta)}$$

    for the gradient $g_i$ of task i's loss by the shared variables, which alone are moved (Fifty et al., 2021).
    Positive values mean that task i helps task j now. They say little about the gains of trained models: see
    `tf_mtl.analysis.group`. Everything is measured in inference mode, but with the inputs that tasks fill in training,
    and the model does not change. A batch costs T + 1 forward passes and T backward passes, or one and T for
    "first_order".

    Args:
        model: A compiled model of several tasks.
        batches: Batches (x, {task: y}) or (x, {task: y}, {task: weight}): a data set that ends, or a list.
        update: The step: "gradient" is that of the formula; "optimizer" is the one that the model's optimizer would
            take from its present state; and "first_order" estimates the first by the gradients' inner products,
            $\eta \langle g_i, g_j \rangle / L_j$.
        learning_rate: $\eta$; that of the optimizer by default. Not used by "optimizer".

    Returns:
        An `Affinity`, averaged over the batches.

    Raises:
        ValueError: for another `update`, a learning rate that is not positive, a model without shared variables, or
            "optimizer" on several replicas.

    References: Fifty et al., "Efficiently identifying task groupings for multi-task learning", NeurIPS 2021. Conflicts
    by layer: Shi et al., "Recon: reducing conflicting gradients from the root for multi-task learning", ICLR 2023.

    Example:

    >>> tasks = [mtl.tasks.Regression(name) for name in ("a", "b")]
    >>> model = mtl.build_model(keras.Input((4,)), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8])), tasks)
    >>> model.compile(keras.optimizers.SGD(0.1))
    >>> x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
    >>> result = mtl.analysis.affinity(model, [(x, {"a": x[:, 0], "b": -x[:, 0]})])
    >>> bool(result.matrix[0, 0] > 0)  # a step for a task reduces its own loss
    True
    """
    if learning_rate is not None:
        learning_rate = in_range("learning_rate", learning_rate, 0, open_low=True)
    affinities = Affinities(model, update, learning_rate)
    sums = affinities.empty()
    for batch in batches:
        sums = affinities.add(sums, batch)
    return affinities.mean(sums)


def checked_update(update: str) -> str:
    """Return `update` if it is one that `affinity` knows.

    Raises:
        ValueError: for any other.
    """
    known = ("gradient", "optimizer", "first_order")
    if update not in known:
        raise ValueError(f"`update` must be one of {list(known)}, received {update!r}.")
    return update


def _ratio(sums, counts):
    return np.divide(sums, counts, out=np.full(np.shape(sums), np.nan), where=np.asarray(counts) > 0)
