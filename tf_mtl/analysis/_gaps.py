"""How much models generalise at the same training loss."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tf_mtl.analysis._intervals import Interval


class Gap(NamedTuple):
    """The test losses of a task where the models of several tasks and of the task alone have the same training loss.

    Attributes:
        task: The task.
        train_loss: The training loss, the lowest that both models reach; the mean over seeds, as are the others.
        multi_task: The test loss of the models of several tasks.
        single_task: The test loss of the single-task models.
        difference: Their difference with its 95% interval. Below 0, models of several tasks generalise better: a loss
            or gain in results is not only one of optimisation.
    """

    task: str
    train_loss: float
    multi_task: float
    single_task: float
    difference: Interval


def at_equal_training_loss(
    one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]
) -> tuple[float, float, float]:
    """Return the lowest training loss that both models reach, and the test loss of either where it first does.

    Args:
        one: The training and test losses of a model after each epoch, [epochs, 2].
        other: Those of the other.
    """
    level = max(min(train for train, _ in curve) for curve in (one, other))
    return level, _test_loss_at(level, one), _test_loss_at(level, other)


def _test_loss_at(level, curve):
    """The test loss where the training loss first falls to a level, between epochs by linear interpolation."""
    train, test = np.array(curve, float).T
    last = int(np.argmax(train <= level))
    if last == 0 or train[last] == train[last - 1]:
        return float(test[last])
    fraction = (train[last - 1] - level) / (train[last - 1] - train[last])
    return float(test[last - 1] + fraction * (test[last] - test[last - 1]))
