"""Build a multi-task model from inputs, a trunk and tasks."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from tf_mtl._graph.heads import heads
from tf_mtl._keys import WORD_STARTS
from tf_mtl._model import MultiTaskModel
from tf_mtl.distribute._agreement import check_agreement
from tf_mtl.tasks import Task
from tf_mtl.trunks import Trunk


def build_model(
    inputs: keras.KerasTensor | Mapping[str, keras.KerasTensor],
    trunk: Trunk,
    tasks: Sequence[Task],
    name: str | None = None,
) -> MultiTaskModel:
    """Build a functional model with one output per task.

    Args:
        inputs: A `keras.Input`, or a dict of them.
        trunk: The sharing structure, such as `tf_mtl.trunks.HardSharing(encoder)`.
        tasks: The tasks, with different names.
        name: Name of the model.

    Returns:
        A `MultiTaskModel` whose output is `{task: tensor}`.

    Raises:
        TypeError: if `trunk` is not a trunk or returns no features, or `tasks` holds anything but tasks.
        ValueError: for no task, two tasks of the same name, a task with the name of an input, tasks that read unknown
            ones or each other, or inputs that mark where words begin if the encoder does not pass them on to tasks with
            a label for each word.
        RuntimeError: on all workers of a cluster, if they differ in the arguments.

    Example:

    >>> model = mtl.build_model(
    ...     keras.Input((16,)),
    ...     trunk=mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([32])),
    ...     tasks=[mtl.tasks.Classification("topic", labels=4), mtl.tasks.Regression("intensity")],
    ... )
    >>> {task: output.shape for task, output in model.output.items()}
    {'topic': (None, 4), 'intensity': (None, 1)}
    """
    if not isinstance(trunk, Trunk):
        raise TypeError(
            f"`trunk` must be a tf_mtl.trunks object, received {trunk!r}. "
            "To share one encoder between all tasks, pass trunk=tf_mtl.trunks.HardSharing(encoder)."
        )
    wrong = [task for task in tasks if not isinstance(task, Task)]
    if wrong:
        raise TypeError(f"`tasks` must be tf_mtl.tasks objects, received {wrong[0]!r} among them.")
    names = [task.name for task in tasks]
    if not names:
        raise ValueError("`tasks` must hold at least one task, received none.")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"`tasks` must have different names, received {names}: rename one '{repeated[0]}'.")
    inputs_of_that_name = [x.name for x in keras.tree.flatten(inputs) if x.name in names]
    if inputs_of_that_name:
        raise ValueError(
            "`tasks` must not have the names of inputs, since both name layers; received "
            f"'{inputs_of_that_name[0]}' for both. Rename the task or the input: keras.Input(..., name=\"x\")."
        )
    check_agreement(
        tf.distribute.get_strategy(),
        "build_model",
        task_names=names,
        inputs=inputs,
        trunk={type(trunk).__name__: vars(trunk)},
        tasks=tasks,
    )
    features = _checked_features(trunk, trunk(inputs, names), names)
    inputs = _with_own_inputs(inputs, tasks)
    for task in tasks:
        if task.labels_words and isinstance(inputs, Mapping) and WORD_STARTS in {*inputs} - {*features[task.name]}:
            raise ValueError(
                f"Task '{task.name}' has a label for each word, and the input '{WORD_STARTS}' tells where words begin. "
                f"The encoder must pass it on, but gives {sorted(features[task.name])}. Return the input "
                f"'{WORD_STARTS}' among the encoder's features."
            )
    return MultiTaskModel(inputs, heads(tasks, features, inputs), name=name, tasks=tasks, trunk=trunk)


def _with_own_inputs(inputs, tasks):
    """The inputs, with those of the tasks' own."""
    own = {name: x for task in tasks for name, x in task.own_inputs().items()}
    if own and not isinstance(inputs, Mapping):
        raise ValueError(
            f"`inputs` must be a dict {{name: keras.Input}}, since tasks add the inputs {sorted(own)}; "
            f"received {inputs}."
        )
    misnamed = next((name for name, x in own.items() if x.name != name), None)
    if misnamed is not None:
        raise ValueError(
            f"`own_inputs` of a task must give inputs under their own names, received '{own[misnamed].name}' under "
            f"'{misnamed}'. Name it: keras.Input(..., name={misnamed!r}, optional=True)."
        )
    taken = sorted(own.keys() & inputs) if own else []
    if taken:
        raise ValueError(f"`inputs` must not have the names of the tasks' own inputs: rename '{taken[0]}'.")
    return {**inputs, **own} if own else inputs


def _checked_features(trunk, features, names):
    is_by_task = isinstance(features, Mapping) and all(isinstance(features.get(name), Mapping) for name in names)
    if not is_by_task:
        raise TypeError(
            f"`trunk` must return a dict {{task: features}} for the tasks {names}, with a dict of features for each, "
            f'such as {{"pooled": tensor}}; {type(trunk).__name__} returned {features}. Fix its `__call__`.'
        )
    return features
