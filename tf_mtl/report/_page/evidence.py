"""What a report reads of the results of `tf_mtl.analysis`, which lies in a higher layer."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np


class Interval(Protocol):
    """A mean with its confidence interval; NaN bounds for a single value."""

    @property
    def mean(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


class Gain(Protocol):
    """The gain of one metric."""

    @property
    def task(self) -> str: ...
    @property
    def metric(self) -> str: ...
    @property
    def multi_task(self) -> float: ...
    @property
    def single_task(self) -> float: ...
    @property
    def gain(self) -> Interval: ...
    @property
    def verdict(self) -> str: ...


class Gains(Protocol):
    """A `tf_mtl.analysis.Gains`."""

    @property
    def seeds(self) -> Sequence[int]: ...
    @property
    def subsets(self) -> Sequence[tuple[str, ...]]: ...

    def of(self, tasks: Sequence[str] | None = None) -> Sequence[Gain]:
        """Return the gain of each metric in a subset."""

    def gain_per_task(self, tasks: Sequence[str] | None = None) -> Interval:
        """Return delta-m as a mean over tasks."""

    def drop_per_metric(self, tasks: Sequence[str] | None = None) -> Interval:
        """Return delta-m as a mean over metrics."""


class Overlap(Protocol):
    """A `tf_mtl.analysis.Overlap`."""

    @property
    def tasks(self) -> Sequence[str]: ...
    @property
    def counts(self) -> np.ndarray: ...
    @property
    def rows(self) -> int: ...
    @property
    def shares(self) -> np.ndarray: ...


class Affinity(Protocol):
    """A `tf_mtl.analysis.Affinity`."""

    @property
    def tasks(self) -> Sequence[str]: ...
    @property
    def matrix(self) -> np.ndarray: ...
    @property
    def cosines(self) -> Mapping[str, np.ndarray]: ...
    @property
    def conflicts(self) -> Mapping[str, float]: ...
    @property
    def few_common_rows(self) -> Sequence[tuple[str, str]]: ...


class Grouping(Protocol):
    """A `tf_mtl.analysis.Grouping`."""

    @property
    def groups(self) -> Sequence[Sequence[str]]: ...
    @property
    def score(self) -> float: ...
    @property
    def runner_up(self) -> Sequence[Sequence[str]]: ...
    @property
    def runner_up_score(self) -> float: ...
    @property
    def is_exact(self) -> bool: ...


class GateWeights(Protocol):
    """A value of `tf_mtl.analysis.gates`."""

    @property
    def tasks(self) -> Sequence[str]: ...
    @property
    def experts(self) -> Sequence[str]: ...
    @property
    def weights(self) -> np.ndarray: ...
