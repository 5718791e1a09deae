"""The training step: losses -> global losses -> balancing -> gradients -> update -> what unlabelled tasks keep.

Every function here runs in the replica context, where each replica is given the whole global batch, or the `Rows` of it
that its worker has read.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._engine import lookahead
from tf_mtl._engine.alignment import Alignment
from tf_mtl._engine.answer_metrics import AnswerMetrics
from tf_mtl._engine.balancing_log import BalancingLog
from tf_mtl._engine.batch_losses import BatchLosses
from tf_mtl._engine.directions import Directions
from tf_mtl._engine.lowest_losses import RefusedLosses, assert_losses, refuses_under_xla
from tf_mtl._engine.non_finite import CancelledSteps
from tf_mtl._engine.objectives import Objectives, TaskLabels
from tf_mtl._engine.replicas import replica_sum
from tf_mtl._engine.scalarized import nothing_shared
from tf_mtl._engine.similarity import GradientCosines
from tf_mtl._engine.task_factors import TaskFactors
from tf_mtl._engine.task_losses import TaskLosses
from tf_mtl._engine.task_metrics import TaskMetrics
from tf_mtl._engine.training_pass import TrainingPass, total_penalty
from tf_mtl._engine.unlabelled import SavedValues, restore_where_unlabelled
from tf_mtl._engine.update_functions import UpdateFunction, update_function
from tf_mtl._graph.partition import Partition, partition
from tf_mtl._optimizers.internals import apply_global, with_slots
from tf_mtl._pipeline.division import divide
from tf_mtl._pipeline.labels import Rules
from tf_mtl.balancing import Balancing


@dataclasses.dataclass(frozen=True)
class Engine:
    """What `compile` has settled, and the steps that follow from it.

    A plain object, so that Keras does not take its parts for layers of the model.

    Attributes:
        objectives: The losses in force.
        balancing: The balancing method.
        gradients: What gradient methods balance, "parameters" or "features".
        accumulate: The number of micro-batches of a step.
        compiled_passes: Whether each replica compiles its forward and backward passes with XLA.
        rules: What batches must keep.
        parts: The model's variables by the tasks that they reach.
        update: The function that computes an update.
        losses: The losses in the logs.
        metrics: The tasks' metrics.
        answer_metrics: Metrics of answers, in evaluation; None without any.
        balancing_log: What balancing did, in the logs; None for constant weights.
        cancelled_steps: What undoes steps with NaN or infinity; None to keep them.
        compile_arguments: What `compile` was given, for saving.
        alignment: How far the optimizer turns the updates; None unless a callback asks for it.
    """

    objectives: Objectives
    balancing: Balancing
    gradients: str
    accumulate: int
    compiled_passes: bool
    rules: Rules
    parts: Partition
    update: UpdateFunction
    losses: TaskLosses
    metrics: TaskMetrics
    answer_metrics: AnswerMetrics | None
    balancing_log: BalancingLog | None
    cancelled_steps: CancelledSteps | None
    compile_arguments: dict[str, Any]
    alignment: Alignment | None = None

    @functools.cached_property
    def directions(self) -> Directions:
        """The directions in which logged values improve."""
        by_task = self.metrics.by_task(self.parts.tasks)
        if self.answer_metrics is not None:
            of_answers = self.answer_metrics.metrics.by_task(self.answer_metrics.tasks)
            by_task |= {task: [*by_task.get(task, ()), *metrics] for task, metrics in of_answers.items()}
        return Directions(by_task, self.compile_arguments["joint_metrics"] or ())

    @functools.cached_property
    def refused_losses(self) -> RefusedLosses:
        """The losses that a training step under XLA has refused."""
        return RefusedLosses(self.balancing)

    @functools.cached_property
    def gradient_cosines(self) -> GradientCosines:
        """The cosines between the tasks' gradients."""
        return GradientCosines(self.objectives, self.parts)

    def train_step(self, model: keras.Model, data: Any, objectives_of: Callable[[Any], Objectives]) -> None:
        """Train on a global batch.

        Args:
            model: The compiled model.
            data: The global batch, or the `Rows` of it that this worker has read; paired with a validation batch where
                the balancing method needs one.
            objectives_of: From the inputs of a micro-batch to the objectives to be minimised on it.
        """
        data, validation = data if self.balancing.needs_validation else (data, None)
        state = None if self.cancelled_steps is None else self.cancelled_steps.before(model, self.balancing)
        batches = self._micro_batches(model, data, objectives_of, self.accumulate)
        saved = self._save_unlabelled(model, batches[0].labels)
        if validation is not None:
            pair = *batches, *self._micro_batches(model, validation, objectives_of)
            lookahead.learn_from_validation(model, self.balancing, *pair)
        seeds = lookahead.seed_state(model) if self.balancing.observes_update else None
        may_refuse = refuses_under_xla(model, self.balancing)
        before = self.refused_losses.read_variables(model) if may_refuse else None
        update = self.update(model, self.balancing, batches, self.parts)
        losses = [update.losses]
        values = [] if self.alignment is None else self.alignment.values()
        with tf.control_dependencies(losses):  # which are asserted to be high enough
            apply_global(model.optimizer, update.gradients)
        if self.alignment is not None:
            self.alignment.update_from(values, update.gradients)
        for each in saved:
            restore_where_unlabelled(each, batches[0].learns)
        if seeds is not None:
            losses.append(lookahead.global_losses(model, batches, seeds))
            with tf.control_dependencies(assert_losses(model, self.balancing, losses[-1])):
                self.balancing.observe(losses[-1])
        if before is not None:
            self.refused_losses.restore_if_refused(before, losses)
        if self.balancing_log is not None:
            self.balancing_log.update_state(update.weights, update.gramian)
        for batch, outputs in zip(batches, update.outputs, strict=True):
            self._log(batch.labels, outputs, batch.loss_sums, batch.weight_sums, batch.penalty)
        if self.cancelled_steps is not None and state is not None:
            self.cancelled_steps.update_state(model, state, update, batches, self.parts)

    def test_step(self, model: keras.Model, data: Any) -> None:
        """Evaluate a global batch."""
        (batch,) = self._micro_batches(model, data, lambda x: self.objectives)
        outputs = model(batch.x, training=False)
        self._log(batch.labels, outputs, *self.objectives.loss_sums(batch.labels, outputs), total_penalty(model.losses))
        if self.answer_metrics is not None:
            self.answer_metrics.update_state(batch.x, self.objectives.masked(batch.labels, outputs), outputs)

    def with_current_trainable(self, model: keras.Model) -> Engine:
        """Return the engine for the variables that are trainable now; its state is this one's."""
        parts = partition(model, self.parts.tasks)
        if self.balancing.kind == "losses" or any(v.trainable for v in parts.shared):
            update = update_function(self.balancing, self.gradients, parts, self.accumulate)
        else:
            update = nothing_shared
        return dataclasses.replace(self, parts=parts, update=update)

    def with_task_factors(self, task_factors: TaskFactors) -> Engine:
        """Return the engine with further factors of the losses; its state is this one's."""
        return dataclasses.replace(self, objectives=dataclasses.replace(self.objectives, task_factors=task_factors))

    def with_alignment(self, alignment: Alignment | None) -> Engine:
        """Return the engine that measures how far the optimizer turns the updates, or no longer; it keeps its state."""
        return dataclasses.replace(self, alignment=alignment)

    def _micro_batches(self, model, data, objectives_of, pieces=1):
        """This replica's rows of a global batch, as micro-batches with their losses."""
        batches = []
        for rows in divide(data, pieces):
            x, y, weight = keras.utils.unpack_x_y_sample_weight(rows.data)
            labels = self.objectives.unpack_labels(y, weight)
            forward = TrainingPass(model, self.compiled_passes)
            batches.append(BatchLosses(objectives_of(x), x, labels, forward, rows.first, pieces))
        return batches

    def _save_unlabelled(self, model: keras.Model, labels: TaskLabels) -> list[SavedValues]:
        """Read what belongs to tasks that may not learn from this batch, optimizer slots included."""
        may_rest = self.objectives.task_factors is not None
        tasks = [index for index, task in enumerate(self.parts.tasks) if may_rest or labels[task][1] is not None]
        saved = []
        for index in tasks:
            variables = with_slots(model.optimizer, self.parts.own[self.parts.tasks[index]])
            saved.append(SavedValues.read(variables, index))
        learned = self.balancing.trainable_variables
        if tasks and learned:
            shape = (len(self.parts.tasks),)
            per_task = [v for v in with_slots(model.optimizer, learned) if v.shape == shape]
            saved.append(SavedValues.read(per_task, None))
        return saved

    def _log(self, labels, outputs, loss_sums, weight_sums, penalty):
        self.losses.update_state(loss_sums, weight_sums, penalty)
        self.metrics.update_state(self.objectives.masked(labels, outputs), outputs)


def results_over_replicas(model: keras.Model) -> dict[str, tf.Tensor]:
    """Return the results of the metrics over all replicas, on each of them."""
    if model.distribute_strategy.num_replicas_in_sync == 1:
        return model.get_metrics_result()
    variables = [v for metric in model.metrics for v in metric.variables]
    values = replica_sum([tf.convert_to_tensor(v.value) for v in variables])
    with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
        return model.get_metrics_result()
