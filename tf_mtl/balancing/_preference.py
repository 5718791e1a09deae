"""The importance of the tasks, which several methods take as `preference`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_mtl.balancing._arguments import in_task_order, per_task
from tf_mtl.balancing._base import Balancing

Preference = Mapping[str, float] | Sequence[float] | None


class WithPreference(Balancing):
    """A method whose tasks may differ in importance.

    Args:
        preference: The tasks' importance: `{task: importance}`, where tasks left out count 1, or a list in their order.
            By default all tasks are equally important.
        name: Name of the layer.

    Attributes:
        importance: The tasks' importance [T], scaled to the sum 1; set in `build`.

    Raises:
        TypeError: if `preference` is neither a dict nor a list.
        ValueError: if a number is negative or not finite, or all are zero; in `build`, for unknown tasks or another
            number of values than of tasks.
    """

    def __init__(self, preference: Preference = None, name: str | None = None):
        super().__init__(name=name)
        self.preference = None if preference is None else per_task("preference", preference)

    def build(self, input_shape: tuple[int, ...]) -> None:
        size = input_shape[0]
        preference = [1.0] * size if self.preference is None else self.preference
        importance = in_task_order("preference", preference, self.tasks, size, default=1.0)
        self.importance: np.ndarray = importance / importance.sum()

    def positive_importance(self) -> np.ndarray:
        """Return the tasks' importance, scaled to the mean 1, for a method that cannot leave out tasks.

        Raises:
            ValueError: if that of a task is zero.
        """
        if not self.importance.all():
            raise ValueError(
                f"`preference` of {type(self).__name__} must be above 0 for each task, received {self.preference!r}. "
                "Give the task a small number, or build the model without it."
            )
        return self.importance * len(self.importance)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "preference": self.preference}
