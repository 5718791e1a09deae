"""The time that an epoch takes."""

import time
from statistics import median
from typing import Any

import keras
import numpy as np


class EpochClock(keras.callbacks.Callback):
    """Measures the seconds per epoch."""

    def __init__(self):
        super().__init__()
        self._times: list[float] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        self._times.append(time.perf_counter())

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Record the time."""
        self._times.append(time.perf_counter())

    def seconds(self) -> float:
        """Return the median over the epochs after the first; of a single epoch its time, and of none 0."""
        seconds = np.diff(self._times).tolist()
        return median(seconds[1:] or seconds or [0.0])
