"""Cancel training steps with NaN or infinity in a loss or gradient, and say where it came from."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._engine.batch_losses import BatchLosses
from tf_mtl._engine.replicas import per_replica_share, replica_sum
from tf_mtl._engine.unlabelled import SavedValues, restore_where_unlabelled
from tf_mtl._engine.update import Update
from tf_mtl._graph.partition import Partition
from tf_mtl.balancing import Balancing

CHOICES = ("keep", "skip", "raise")
SKIPPED_STEPS = "skipped_steps"
_MOST_ROWS = 8


@dataclass(frozen=True)
class StateBefore:
    """What a step may change, as it was before.

    Attributes:
        variables: The variables of the model, its optimizer and its balancing method.
        metrics: This replica's variables of metrics, with their values.
    """

    variables: SavedValues
    metrics: list[tuple[keras.Variable, tf.Tensor]]


class CancelledSteps(keras.metrics.Metric):
    """Undoes steps with NaN or infinity, counts them, and records the origin of the first one in an epoch.

    Args:
        choice: "skip" or "raise".
        tasks: The tasks' names.
    """

    def __init__(self, choice: str, tasks: Sequence[str]):
        super().__init__(name=SKIPPED_STEPS)
        self.raises = choice == "raise"
        self.tasks = tuple(tasks)
        self.count = self.add_variable((), "zeros", name="count")
        self.reports = self.add_variable((), "zeros", name="reports")  # without the overflows of a loss scale
        self.updates = self.add_variable((), "zeros", name="updates")
        self.losses = self.add_variable((len(tasks),), "zeros", name="losses")
        self.gradients = self.add_variable((len(tasks) + 1,), "zeros", name="gradients")
        self.rows = self.add_variable((len(tasks), _MOST_ROWS), "zeros", name="rows")
        self._reported = 0.0

    def before(self, model: keras.Model, balancing: Balancing) -> StateBefore:
        """Read what a step may change; called in the replica context, as `update_state` is."""
        scaling = _scaling_variables(model.optimizer)
        owners = (model, model.optimizer, balancing)
        variables = {id(v): v for owner in owners for v in owner.variables if id(v) not in scaling}
        metrics = [v for metric in model.metrics if metric is not self for v in metric.variables]
        variables = {key: v for key, v in variables.items() if key not in {id(each) for each in metrics}}
        values = [(v, tf.identity(v.value)) for v in metrics]
        return StateBefore(SavedValues.read(list(variables.values()), None), values)

    def update_state(
        self, model: keras.Model, before: StateBefore, update: Update, batches: Sequence[BatchLosses], parts: Partition
    ) -> None:
        """Undo a step unless its losses and gradients are finite."""
        scaling = _scaling_variables(model.optimizer)
        sums = tf.stack([tf.stack(batch.loss_sums) for batch in batches])
        bad_losses = replica_sum(tf.reduce_sum(tf.cast(~tf.math.is_finite(sums), tf.float32), 0)) > 0
        bad_gradients = _bad_gradients(update, parts)
        is_bad = tf.reduce_any(bad_losses) | tf.reduce_any(bad_gradients)
        is_reported = is_bad
        if scaling:  # scaled gradients overflow now and then, but those of a scale below 1 are not finite themselves
            is_reported = tf.reduce_any(bad_losses) | (is_bad & (model.optimizer.dynamic_scale.value < 1))
        keep = ~is_bad & (self.reports == 0) if self.raises else ~is_bad
        restore_where_unlabelled(before.variables, keep)
        for variable, value in before.metrics:
            variable.assign(tf.where(keep, variable.value, value))
        is_first = is_reported & (self.reports == 0)
        self.count.assign_add(per_replica_share(tf.cast(is_bad, tf.float32)))
        self.reports.assign_add(tf.cast(is_reported, tf.float32))
        rows = tf.cond(is_first, lambda: _bad_rows(update, batches), lambda: _no_rows(self.tasks))
        origin = (
            (self.updates, tf.cast(model.optimizer.iterations.value, tf.float32)),
            (self.losses, tf.cast(bad_losses, tf.float32)),
            (self.gradients, tf.cast(bad_gradients, tf.float32)),
            (self.rows, rows),
        )
        for variable, value in origin:
            variable.assign(tf.where(is_first, value, variable.value))

    def result(self) -> dict[str, tf.Tensor]:
        """Return the number of steps skipped in the epoch."""
        return {} if self.raises else {SKIPPED_STEPS: tf.convert_to_tensor(self.count)}

    def reported_after(self, model: keras.Model, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return a training function that reports a cancelled step: by an error, or the first one by a warning."""
        strategy = model.distribute_strategy

        def local(variable):
            return [value.numpy() for value in strategy.experimental_local_results(variable.value)]

        def reporting(iterator):
            logs = function(iterator)
            if local(self.reports)[0] and (self.raises or not self._reported):
                self._reported = True
                message = self._message(
                    {name: local(getattr(self, name)) for name in ("updates", "losses", "gradients", "rows")}
                )
                if self.raises:
                    self.reset_state()
                    raise ValueError(
                        f"{message} The step was undone. To leave such steps out, use compile(non_finite='skip')."
                    )
                warnings.warn(
                    f"{message} The step is left out, as all such steps are; `skipped_steps` in the logs counts them.",
                    stacklevel=2,
                )
            return logs

        return reporting

    def _message(self, values: Mapping[str, Any]) -> str:
        tasks = [task for task, bad in zip(self.tasks, values["losses"][0], strict=True) if bad]
        owners = [*(f"'{task}' alone" for task in self.tasks), "several tasks"]
        of_variables = [owner for owner, bad in zip(owners, values["gradients"][0], strict=True) if bad]
        step = f"in the step after {int(values['updates'][0])} updates"
        if not tasks:
            return f"The gradients of variables of {', '.join(of_variables)} hold NaN or infinity {step}; no loss does."
        parts = []
        for task in tasks:
            rows = sorted(
                {int(row) for replica in values["rows"] for row in replica[self.tasks.index(task)] if row >= 0}
            )
            which = (
                f" at {'row' if len(rows) == 1 else 'rows'} {', '.join(map(str, rows[:_MOST_ROWS]))} of the batch"
                if rows
                else ""
            )
            parts.append(f"'{task}'{which}")
        return f"The loss is NaN or infinite {step}: that of {' and '.join(parts)}."


def _scaling_variables(optimizer: keras.optimizers.Optimizer) -> set[int]:
    """The variables of a loss scale, which must follow the overflow of a step that is undone."""
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return set()
    return {id(optimizer.step_counter), id(optimizer.dynamic_scale)}


def _bad_gradients(update: Update, parts: Partition) -> tf.Tensor:
    """Whether the gradients of each task's own variables, and of all others, are not finite, [T + 1]."""
    owners = {id(v): index for index, task in enumerate(parts.tasks) for v in parts.own[task]}
    bad: list[list[tf.Tensor]] = [[] for _ in range(len(parts.tasks) + 1)]
    for gradient, variable in update.gradients:
        if gradient is not None:
            values = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
            bad[owners.get(id(variable), -1)].append(tf.reduce_any(~tf.math.is_finite(values)))
    return tf.stack([tf.reduce_any(tf.stack(group)) if group else tf.constant(False) for group in bad])


def _bad_rows(update: Update, batches: Sequence[BatchLosses]) -> tf.Tensor:
    """For each task, the global indices of this replica's first rows with a bad loss, padded with -1: [T, 8]."""
    found = [batch.bad_rows(outputs) for batch, outputs in zip(batches, update.outputs, strict=True)]
    last = tf.int32.max
    indices = tf.concat([tf.where(bad, first + tf.range(tf.shape(bad)[1]), last) for first, bad in found], 1)
    indices = tf.sort(tf.pad(indices, [[0, 0], [0, _MOST_ROWS]], constant_values=last), 1)[:, :_MOST_ROWS]
    return tf.cast(tf.where(indices == last, -1, indices), tf.float32)


def _no_rows(tasks: Sequence[str]) -> tf.Tensor:
    return tf.fill([len(tasks), _MOST_ROWS], -1.0)
