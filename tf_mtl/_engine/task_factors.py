"""Factors of the tasks' losses that callbacks change during training."""

from collections.abc import Hashable, Mapping, Sequence

import keras
import numpy as np


class TaskFactors:
    """The product, by task, of the factors that several callbacks set; 1 for all tasks at first.

    Args:
        tasks: The trained tasks.

    Attributes:
        value: The product, [T], which a traced step reads.
    """

    def __init__(self, tasks: Sequence[str]):
        self.tasks = tuple(tasks)
        self.value = keras.Variable(np.ones(len(tasks)), trainable=False, dtype="float32", name="task_factors")
        self._by_owner: dict[Hashable, np.ndarray] = {}

    def set(self, owner: Hashable, factors: np.ndarray) -> None:
        """Set the factors of one callback, [T]."""
        self._by_owner[owner] = factors
        self.value.assign(self._product())

    def by_owner(self) -> dict[Hashable, np.ndarray]:
        """Return the factors of each callback."""
        return dict(self._by_owner)

    def restore(self, by_owner: Mapping[Hashable, np.ndarray]) -> None:
        """Restore what `by_owner` returned, without the callbacks that came later."""
        self._by_owner = dict(by_owner)
        self.value.assign(self._product())

    def by_task(self) -> dict[str, float]:
        """Return the product by task."""
        return dict(zip(self.tasks, self._product().tolist(), strict=True))

    def _product(self):
        return np.prod([np.ones(len(self.tasks)), *self._by_owner.values()], axis=0)
