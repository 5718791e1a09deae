"""Factors of the tasks' losses that callbacks change during training."""

from collections.abc import Hashable, Sequence

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
        self.value.assign(np.prod(list(self._by_owner.values()), axis=0))

    def reset(self) -> None:
        """Forget all callbacks: each factor is 1 again."""
        self._by_owner.clear()
        self.value.assign(np.ones(len(self.tasks)))

    def by_task(self) -> dict[str, float]:
        """Return the product by task."""
        product = np.prod([np.ones(len(self.tasks)), *self._by_owner.values()], axis=0)
        return dict(zip(self.tasks, product.tolist(), strict=True))
