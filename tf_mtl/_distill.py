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


def distill(student: MultiTaskModel, teachers: Mapping[str, keras.Model], annealing_steps: int) -> MultiTaskModel:
    r"""Return a model that trains `student`, whose layers it shares, on labels and on its teachers' outputs.

    In training step $t$ a taught task's loss on a row is

    $$\lambda_t \, \ell(y, s(x)) + (1 - \lambda_t) \, d(\tau(x), s(x)), \qquad \lambda_t = \min(1, t / n),$$

    with the student's output $s(x)$, the teacher's $\tau(x)$, the task's loss $\ell$, the task's
    distance $d$ of two outputs (`distillation_loss`: cross-entropy with the teacher's probabilities; for regression the
    task's loss) and $n$ `annealing_steps`: the student starts as an apprentice and ends on the labels alone (teacher
    annealing). Rows without a label for a task count neither way. Evaluation is by the labels alone.

    Compile and fit what is returned, with any balancing; evaluate, save and export the student.
    `tf_mtl.callbacks.Checkpoint` and `ModelCheckpoint(save_weights_only=True)` work in training; whole models that
    hold teachers are not saved.

    Args:
        student: A model built with task objects.
        teachers: `{task: model}`; models that take the student's inputs and give the task's output, alone or in a
            dict. They stay as they are. Tasks without a teacher learn from their labels.
        annealing_steps: Optimizer steps until only the labels count, commonly all of the training.

    Raises:
        ValueError: for unknown tasks, no teachers, steps that are not a positive integer, a teacher that gives
            outputs of another shape, or a student without task objects.

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
        raise ValueError("`student` needs task objects, which say how to imitate: build it with tf_mtl.build_model.")
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
        self._teachers = _Kept(dict(teachers))
        self._annealing_steps = annealing_steps

    def _training_objectives(self, x: Any) -> Objectives:
        """Return the objectives with the teachers' outputs on these rows."""
        objectives = super()._training_objectives(x)
        steps = tf.cast(self.optimizer.iterations, tf.float32)
        share = tf.minimum(1.0, steps / self._annealing_steps)
        tasks = {task.name: task for task in self.tasks}
        losses = dict(objectives.losses)
        for name, teacher in self._teachers.models.items():
            target = tf.stop_gradient(tf.cast(_output(name, teacher(x, training=False)), tf.float32))
            losses[name] = _Taught(losses[name], tasks[name].distillation_loss, target, share)
        return dataclasses.replace(objectives, losses=losses)

    def get_config(self):
        raise NotImplementedError("What `distill` returns is for training only: save the student, which it trains.")


@dataclasses.dataclass(frozen=True)
class _Kept:
    """A plain object, so that Keras does not take the teachers for layers of the model."""

    models: dict[str, keras.Model]


class _Taught(keras.losses.Loss):
    """A task's loss on one batch, partly by a teacher's outputs for it."""

    def __init__(self, loss: keras.losses.Loss, distillation_loss: Callable, target: tf.Tensor, share: tf.Tensor):
        super().__init__(name=loss.name)
        self.loss, self.distillation_loss, self.target, self.share = loss, distillation_loss, target, share
        self.missing_label = getattr(loss, "missing_label", 0)

    def call(self, y_true, y_pred):
        by_labels = self.loss.call(y_true, y_pred)
        by_teacher = self.distillation_loss(self.target, y_pred)
        further = list(range(by_labels.shape.rank, by_teacher.shape.rank))  # cells of a loss that has one value per row
        return self.share * by_labels + (1 - self.share) * tf.reduce_mean(by_teacher, further)


def _check_teacher(task, teacher, student):
    try:
        outputs = teacher(student.input)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`teachers['{task}']` cannot take the student's inputs: {error}") from error
    if isinstance(outputs, Mapping) and task not in outputs:
        raise ValueError(f"`teachers['{task}']` must give '{task}', but gives {sorted(outputs)}.")
    given, expected = _output(task, outputs).shape, student.output[task].shape
    if given != expected:
        raise ValueError(f"`teachers['{task}']` must give outputs of shape {expected}, as the student; not {given}.")


def _output(task, outputs):
    return outputs[task] if isinstance(outputs, Mapping) else outputs
