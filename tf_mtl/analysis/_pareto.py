"""Pareto sets, and the volume that they dominate."""

import numpy as np


def pareto(values: np.ndarray) -> np.ndarray:
    """Return which rows are in the Pareto set: no other row is at least as good in all columns and better in one.

    A row with NaN is not.

    Args:
        values: Results, [N, T], of which higher ones are better.

    Returns:
        [N], bool.
    """
    at_least = (values[:, None] >= values).all(-1)
    better = (values[:, None] > values).any(-1)
    return np.logical_not((at_least & better).any(0) | np.isnan(values).any(1))


def hypervolume(values: np.ndarray, reference: np.ndarray) -> float:
    """Return the volume of what some row is better than, and the reference point is not.

    Exact, by slices along the last axis, in a time that grows exponentially with the number of columns.

    Args:
        values: Results, [N, T], of which higher ones are better.
        reference: A point that good results exceed in every column, [T].
    """
    sides = values[(values > reference).all(1)] - reference
    return _volume(sides)


def _volume(sides):
    """The volume of the union of boxes from the origin, [N, T]."""
    if not len(sides):
        return 0.0
    if sides.shape[1] == 1:
        return float(sides.max())
    order = np.argsort(-sides[:, -1], kind="stable")
    heights = np.append(sides[order, -1], 0)
    volume = 0.0
    for count in range(1, len(sides) + 1):  # between two heights, the boxes that are at least as high
        thickness = heights[count - 1] - heights[count]
        if thickness > 0:
            below = sides[order[:count], :-1]
            volume += thickness * _volume(below[pareto(below)])
    return volume
