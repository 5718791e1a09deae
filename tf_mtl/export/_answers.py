"""The answers of an export by name."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from tf_mtl._located import Located
from tf_mtl.tasks import Task


def answers(
    tasks: Sequence[Task], outputs: Mapping[str, tf.Tensor], located: Located | None = None
) -> dict[str, tf.Tensor]:
    """Return the decoded outputs by their names in an export, `<task>_<part>`.

    Without task objects, which decode outputs, the outputs themselves are the answers, by task.

    Args:
        tasks: The model's task objects.
        outputs: The outputs of some tasks.
        located: What answers refer to, where the inputs come from raw texts or images; see `Task.answer`.

    Raises:
        ValueError: if two decoded outputs have the same name.
    """
    if not tasks:
        return {task: tf.identity(output) for task, output in outputs.items()}
    decoded = [
        (f"{task.name}_{part}", value)
        for task in tasks
        if task.name in outputs
        for part, value in task.answer(outputs[task.name], located).items()
    ]
    if len(dict(decoded)) < len(decoded):
        raise ValueError(
            f"Decoded outputs must have different names, received {sorted(name for name, _ in decoded)}. Rename a task."
        )
    return dict(decoded)
