"""Confidence intervals of means."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf


class Interval(NamedTuple):
    """A mean gain with its confidence interval; `print` shows percentages.

    Attributes:
        mean: The mean.
        low: The lower bound; NaN for a single value.
        high: The upper bound; NaN for a single value.
    """

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """What the interval says: "gain", "negative transfer", "no difference", "one seed", or "undefined" for NaN."""
        if math.isnan(self.mean):
            return "undefined"
        if math.isnan(self.low):
            return "one seed"
        return "gain" if self.low > 0 else "negative transfer" if self.high < 0 else "no difference"

    def __str__(self) -> str:
        bounds = "" if math.isnan(self.low) else f" [{self.low:+.2%}, {self.high:+.2%}]"
        return f"{self.mean:+.2%}{bounds}"


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the mean of independent values with its confidence interval, by Student's t distribution."""
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return Interval(mean, math.nan, math.nan)
    half = t_quantile((1 + confidence) / 2, count - 1) * float(np.std(values, ddof=1)) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half)


def t_quantile(probability: float, freedom: int) -> float:
    """Return the quantile of Student's t distribution, for a probability of at least 1/2."""
    low, high = 0.0, 1.0
    while _t_distribution(high, freedom) < probability:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_distribution(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


def _t_distribution(t, freedom):
    x = tf.constant(freedom / (freedom + t * t), tf.float64)
    a, b = (tf.constant(value, tf.float64) for value in (freedom / 2, 0.5))
    return 1 - float(tf.math.betainc(a, b, x)) / 2
