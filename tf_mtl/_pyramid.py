"""The levels of a feature pyramid: `P<l>` is a map of stride 2 ** l."""

import re
from collections.abc import Sequence

import numpy as np


def stride(level: str) -> int:
    """Return the stride of a level."""
    return 2 ** int(level[1:])


def is_level(name: str) -> bool:
    """Return whether a feature's name is that of a level; `P0` is a map of the image's size."""
    return re.fullmatch("P[0-7]", name) is not None


def map_size(level: str, image_size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of a level's map; strides that do not divide the image's size round up."""
    height, width = (-(-size // stride(level)) for size in image_size)
    return height, width


def checked_levels(task: str, levels: Sequence[str]) -> list[str]:
    """Return the names of levels, the finest first.

    Raises:
        ValueError: unless they are different names from P1 to P7.
    """
    levels = [levels] if isinstance(levels, str) else list(levels)
    if not levels or len(set(levels)) < len(levels) or not all(re.fullmatch("P[1-7]", str(name)) for name in levels):
        raise ValueError(f"`levels` of task '{task}' must be different names from P1 to P7, received {levels}.")
    return sorted(levels)


def centres(levels: Sequence[str], image_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres [A, 2], (x, y) in pixels, and the strides [A] of all positions of the levels, row by row."""
    points, strides = [], []
    for level in levels:
        height, width = map_size(level, image_size)
        x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        points.append(np.stack([x.ravel(), y.ravel()], 1) * stride(level))
        strides.append(np.full(height * width, stride(level)))
    return np.concatenate(points).astype("float32"), np.concatenate(strides).astype("float32")
