"""What a trunk is, and what an encoder's output means to the heads."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import keras

Features = dict[str, keras.KerasTensor]


class Trunk(ABC):
    """A sharing structure: builds, with the functional API, the features of each task from the inputs."""

    @abstractmethod
    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return `{task: features}` from symbolic inputs and task names."""


def as_features(output: Any) -> Features:
    """Return an encoder's output as a dict of features.

    A dict is taken as it is. A tensor becomes `pooled` [B, D], `sequence` [B, S, D] or `map` [B, H, W, C] by its
    rank, and the latter two give `pooled` as their mean over positions (without masked ones).

    Raises:
        TypeError: for anything else.
    """
    if isinstance(output, Mapping):
        return dict(output)
    rank = len(output.shape) if isinstance(output, keras.KerasTensor) else None
    if rank == 2:
        return {"pooled": output}
    if rank == 3:
        return {"pooled": keras.layers.GlobalAveragePooling1D()(output), "sequence": output}
    if rank == 4:
        return {"pooled": keras.layers.GlobalAveragePooling2D()(output), "map": output}
    raise TypeError(
        f"An encoder must return a dict of features, or a tensor [B, D], [B, S, D] or [B, H, W, C]; received {output}."
    )
