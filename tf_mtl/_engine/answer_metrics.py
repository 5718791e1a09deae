"""Metrics of what tasks answer, where that is not the output in evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._engine.task_metrics import TaskMetrics
from tf_mtl._optional_inputs import OptionalInputs
from tf_mtl.tasks import Task


@dataclass(frozen=True)
class AnswerMetrics:
    """Compares labels with the outputs of a model that is not given the tasks' own inputs, in evaluation only.

    Attributes:
        metrics: The metrics, by task.
        tasks: The tasks that have them.
        part: The model of these tasks; None where no task has own inputs, and outputs are the answers.
        own_inputs: The names of all tasks' own inputs.
    """

    metrics: TaskMetrics
    tasks: tuple[str, ...]
    part: keras.Model | None
    own_inputs: frozenset[str]

    @classmethod
    def of_tasks(cls, model: keras.Model, tasks: Sequence[Task]) -> "AnswerMetrics | None":
        """Return the metrics that tasks declare, or None if there are none."""
        declared = {task.name: task.answer_metrics() for task in tasks}
        declared = {task: metrics for task, metrics in declared.items() if metrics}
        own_inputs = frozenset(name for task in tasks for name in task.own_inputs())
        if not declared:
            return None
        part = OptionalInputs(model.input, {task: model.output[task] for task in declared}) if own_inputs else None
        predictions = {task.name: task.predictions for task in tasks if task.name in declared}
        return cls(TaskMetrics(declared, {}, predictions=predictions), tuple(declared), part, own_inputs)

    def update_state(
        self, x: Any, labels: Mapping[str, tuple[tf.Tensor, tf.Tensor | None]], outputs: Mapping[str, tf.Tensor]
    ) -> None:
        """Add a batch.

        Args:
            x: The inputs.
            labels: The labels and weights by task.
            outputs: The outputs of the model for these inputs, which are the answers unless there are own inputs.
        """
        if self.part is not None:
            given = {name: values for name, values in x.items() if name not in self.own_inputs}
            outputs = self.part(given, training=False)
        self.metrics.update_state(labels, outputs)
