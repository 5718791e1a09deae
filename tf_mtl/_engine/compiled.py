"""From the arguments of `compile` to a training engine."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tf_mtl import balancing as methods
from tf_mtl._engine.answer_metrics import AnswerMetrics
from tf_mtl._engine.balancing_log import BalancingLog
from tf_mtl._engine.feature_gradients import by_features
from tf_mtl._engine.metric_arguments import MetricArguments, compiled_metrics
from tf_mtl._engine.non_finite import CHOICES, CancelledSteps
from tf_mtl._engine.objectives import Objectives
from tf_mtl._engine.step import Engine
from tf_mtl._engine.task_losses import TaskLosses
from tf_mtl._engine.training_pass import compiles_passes
from tf_mtl._engine.update_functions import input_shape, update_function
from tf_mtl._graph.partition import partition
from tf_mtl._pipeline.labels import Rules
from tf_mtl.tasks import Task


def compiled_engine(
    model: keras.Model,
    tasks: Sequence[Task],
    *,
    loss: Any,
    loss_weights: Mapping[str, float] | Sequence[float] | None,
    metrics: Mapping[str, Any] | Sequence | None,
    weighted_metrics: Mapping[str, Any] | Sequence | None,
    joint_metrics: Sequence[keras.metrics.Metric] | None,
    balancing: str | methods.Balancing,
    gradients: str,
    accumulate: int,
    check_inputs: bool,
    non_finite: str,
    jit_compile: bool | str,
    run_eagerly: bool,
) -> Engine:
    """Return the engine of a model; see `MultiTaskModel.compile` for the arguments and what it raises."""
    if non_finite not in CHOICES:
        raise ValueError(f"`non_finite` must be one of {list(CHOICES)}, received {non_finite!r}.")
    measures = MetricArguments.create(model.output, tasks, metrics, weighted_metrics, joint_metrics)
    objectives = Objectives.create(model.output, tasks, loss, loss_weights, measures.measured)
    shapes = {task: output.shape for task, output in model.output.items()}
    task_metrics = compiled_metrics(measures, objectives, shapes, tasks)
    method, parts = methods.get(balancing), partition(model, objectives.losses)
    objectives.check_division(accumulate, model.distribute_strategy.num_replicas_in_sync)
    update = update_function(method, gradients, parts, accumulate)
    if update is by_features and (unread := measures.measured - objectives.losses.keys()):
        raise ValueError(
            f"`metrics` of {sorted(unread)}, which have no loss, are not supported with gradients='features': only the "
            "trained tasks' outputs are computed. Use gradients='parameters', or leave these metrics out."
        )
    method.bind(parts.tasks, input_shape(method, gradients, parts), model)
    return Engine(
        objectives=objectives,
        balancing=method,
        gradients=gradients,
        accumulate=accumulate,
        compiled_passes=compiles_passes(model, jit_compile, run_eagerly),
        rules=Rules(
            tuple(objectives.specs), check_inputs, tuple(task.fill_own_inputs for task in tasks if task.own_inputs())
        ),
        parts=parts,
        update=update,
        losses=TaskLosses(parts.tasks, objectives.loss_weights),
        metrics=task_metrics,
        answer_metrics=AnswerMetrics.of_tasks(model, tasks),
        balancing_log=BalancingLog.for_method(method, parts.tasks),
        cancelled_steps=None if non_finite == "keep" else CancelledSteps(non_finite, parts.tasks),
        compile_arguments={
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
            "joint_metrics": joint_metrics,
            "balancing": method,
            "gradients": gradients,
            "accumulate": accumulate,
            "check_inputs": check_inputs,
            "non_finite": non_finite,
            "jit_compile": jit_compile,
        },
    )
