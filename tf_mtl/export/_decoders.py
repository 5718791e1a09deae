"""Check that a task's answer depends on every position of its output."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tf_mtl.tasks import Task


def check_decoder(task: Task, output: tf.Tensor) -> None:
    """Raise if `decode` drops positions of an output [B, ..., C], as `output[:, 0]` does for [B, H, W, 1].

    The answer to a random output must change with its values at the first, middle and last position of each axis
    between the first and the last.

    Args:
        task: The task.
        output: An output of the task, of which only the shape counts.

    Raises:
        ValueError: naming the task and the axis.
    """
    if not task.reads_all_positions:
        return
    random = np.random.default_rng(0)
    rows = random.standard_normal((2, *output.shape[1:])).astype("float32")
    answer, valid = _decoded(task, rows), task.valid_mask(tf.constant(rows))
    for axis in range(1, rows.ndim - 1):
        size = rows.shape[axis] if valid is None or axis > 1 else valid.shape[1]
        for position in sorted({0, size // 2, size - 1}):
            if not any(_differ(answer, _decoded(task, other)) for other in _others(rows, axis, position, random)):
                raise ValueError(
                    f"The export fails its check: `decode` of task '{task.name}' ignores position {position} on axis "
                    f"{axis} of its output {output.shape}. Let it read all positions; `output[..., 0]` removes a last "
                    "axis of size 1. An output that needs no such axis should lose it in the head."
                )


def _others(rows: np.ndarray, axis: int, position: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield copies of an output with other values at a position, of either sign and of different sizes."""
    index = (slice(None),) * axis + (position,)
    noise = random.standard_normal(rows[index].shape)
    for factor in (1, -1, 100, -100):
        others = rows.copy()
        others[index] = factor * noise
        yield others


def _decoded(task: Task, output: np.ndarray) -> dict[str, np.ndarray]:
    return {key: np.asarray(value) for key, value in task.decode(tf.constant(output)).items()}


def _differ(answer: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return any(
        not np.array_equal(value, other[key], equal_nan=value.dtype.kind == "f") for key, value in answer.items()
    )
