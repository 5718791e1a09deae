"""Knowledge distillation: teachers of single tasks into one multi-task student."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl._engine.objectives import Objectives
from tf_mtl._model import MultiTaskModel
from tf_mtl._names import check_names
from tf_mtl._shapes import with_last_axis
from tf_mtl.losses import BatchLoss
from tf_mtl.losses._parts_loss import PartsLoss


def distill(student: MultiTaskModel, teachers: Mapping[str, keras.Model], annealing_steps: int) -> MultiTaskModel:
    r"""Return a model that trains `student`, whose layers it shares, on labels and on its teachers' outputs.

    In training step $t$ a taught task's loss on a row is

    $$\lambda_t \, \ell(y, s(x)) + (1 - \lambda_t) \, d(\tau(x), s(x)), \qquad \lambda_t = \min(1, t / n),$$

    with the student's output $s(x)$, the teacher's $\tau(x)$, the task's loss $\ell$, the task's
    distance $d$ of two outputs (`distillation_loss`: cross-entropy with the teacher's probabilities; for regression the
    task's loss) and $n$ `annealing_steps`: the student starts as an apprentice and ends on the labels alone (teacher
    annealing). Rows without a label for a task do not count for it. Evaluation uses the labels alone.

    Compile and fit the returned model, with any balancing; evaluate, save and export the student.
    `tf_mtl.callbacks.Checkpoint` and `ModelCheckpoint(save_weights_only=True)` work in training; saving the whole
    returned model is not supported.

    Args:
        student: A model built with task objects.
        teachers: `{task: model}`; each model takes the student's inputs and returns the task's output, alone or in a
            dict. Teachers are not changed. Tasks without a teacher learn from their labels.
        annealing_steps: The number of optimizer steps until only the labels count, commonly that of the whole
            training.

    Raises:
        ValueError: for unknown tasks, no teachers, steps that are not a positive integer, a teacher that
            returns outputs of another shape, or a student without task objects.

    Example:

    >>> def build(*tasks):
    ...     trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    ...     return mtl.build_model(keras.Input((4,), name="x"), trunk, [mtl.tasks.Regression(name) for name in tasks])
    >>> student, teacher = build("price", "rent"), build("rent")
    >>> trainer = mtl.distill(student, {"rent": teacher}, annealing_steps=10)
    >>> trainer.compile("adam")
    >>> y = {"price": np.ones(6), "rent": np.ones(6)}
    >>> history = trainer.fit(np.ones((6, 4)), y, epochs=10, verbose=0)

    Reference: Clark et al., "BAM! Born-Again Multi-Task Networks for Natural Language Understanding", ACL 2019.
    """
    if not student.tasks:
        raise ValueError(
            "`student` needs task objects, which define the distillation losses: build it with tf_mtl.build_model."
        )
    check_names("teachers", teachers, student.task_names, required=False)
    if not teachers:
        raise ValueError("`teachers` must hold at least one model, received none.")
    integer("annealing_steps", annealing_steps, 1)
    for task, teacher in teachers.items():
        _check_teacher(task, teacher, student)
    with student.distribute_strategy.scope():
        return _Apprenticeship(student, teachers, annealing_steps)


class _Apprenticeship(MultiTaskModel):
    """The student's graph with other objectives in training."""

    def __init__(self, student, teachers, annealing_steps):
        super().__init__(student.input, student.output, student.name, tasks=student.tasks, trunk=student.trunk)
        self._teachers = _Teachers(dict(teachers))
        self._annealing_steps = annealing_steps

    def _training_objectives(self, x: Any) -> Objectives:
        """Return the objectives with the teachers' outputs on these rows."""
        objectives = super()._training_objectives(x)
        steps = tf.cast(self.optimizer.iterations, tf.float32)
        label_weight = tf.minimum(1.0, steps / self._annealing_steps)
        tasks = {task.name: task for task in self.tasks}
        losses = dict(objectives.losses)
        for name, teacher in self._teachers.models.items():
            if isinstance(losses[name], BatchLoss):
                raise ValueError(
                    f"`teachers['{name}']` is not supported: the task's loss compares the rows of a batch. Leave this "
                    "teacher out, or use a loss of single rows."
                )
            target = tf.stop_gradient(
                tf.cast(_output(name, teacher(_inputs_of(teacher, x), training=False)), tf.float32)
            )
            taught = _TaughtParts if isinstance(losses[name], PartsLoss) else _Taught
            losses[name] = taught(losses[name], tasks[name].distillation_loss, with_last_axis(target), label_weight)
        return dataclasses.replace(objectives, losses=losses)

    def get_config(self):
        raise NotImplementedError(
            "Saving the model that `distill` returns is not supported: save the student, which it trains."
        )


@dataclasses.dataclass(frozen=True)
class _Teachers:
    """A plain object, so that Keras does not take the teachers for layers of the model."""

    models: dict[str, keras.Model]


class _Taught(keras.losses.Loss):
    """A task's loss on one batch, weighted with the distance from a teacher's outputs."""

    def __init__(
        self, loss: keras.losses.Loss, distillation_loss: Callable, target: tf.Tensor, label_weight: tf.Tensor
    ):
        super().__init__(name=loss.name)
        self.loss, self.distillation_loss = loss, distillation_loss
        self.target, self.label_weight = target, label_weight
        self.missing_label = getattr(loss, "missing_label", 0)

    def call(self, y_true, y_pred, *weight):
        of_labels = self.loss.call(y_true, y_pred, *weight)
        of_teacher = self.distillation_loss(self.target, y_pred)
        extra_axes = list(range(of_labels.shape.rank, of_teacher.shape.rank))  # cells, where the loss is per row
        of_teacher = tf.reduce_mean(of_teacher, extra_axes)
        return self.label_weight * of_labels + (1 - self.label_weight) * of_teacher


class _TaughtParts(_Taught, PartsLoss):
    """The same for rows whose parts have label weights."""

    def row_weight(self, weight):
        return self.loss.row_weight(weight)


def _check_teacher(task, teacher, student):
    try:
        outputs = teacher(_inputs_of(teacher, student.input))
    except (TypeError, ValueError) as error:
        raise ValueError(f"`teachers['{task}']` does not accept the student's inputs: {error}") from error
    if isinstance(outputs, Mapping) and task not in outputs:
        raise ValueError(f"`teachers['{task}']` must return '{task}', but returns {sorted(outputs)}.")
    given, expected = _output(task, outputs).shape, student.output[task].shape
    if given != expected:
        raise ValueError(
            f"`teachers['{task}']` must return outputs of shape {expected}, as the student does, received {given}."
        )


def _inputs_of(teacher, x):
    """The inputs that a teacher takes: own inputs of tasks that it does not have are left out."""
    taken = getattr(teacher, "input", None)  # of functional models
    if isinstance(x, Mapping) and isinstance(taken, Mapping):
        return {name: values for name, values in x.items() if name in taken}
    return x


def _output(task, outputs):
    return outputs[task] if isinstance(outputs, Mapping) else outputs
