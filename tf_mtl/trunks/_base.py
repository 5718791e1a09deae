"""What a trunk is, and what an encoder's output means to the heads."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tf_mtl.layers._masked_mean import MaskedMean

Features = dict[str, keras.KerasTensor]


class Trunk(ABC):
    """A sharing structure: builds, with the functional API, the features of each task from the inputs.

    A trunk keeps each argument of its constructor in an attribute of the same name; its config is read off these.
    """

    @abstractmethod
    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return `{task: features}` from symbolic inputs and task names."""

    def penalty(self, model: keras.Model) -> Any:
        """Return a scalar of the weights of a model built with this trunk, which its loss contains; or None."""
        return None

    def single_task(self, task: str) -> "Trunk":
        """Return the trunk that a model of this task alone would have."""
        return self

    @property
    def serializable(self) -> bool:
        """Whether it holds layers and plain values only; a function among them cannot be saved."""
        held = keras.tree.flatten(list(vars(self).values()))
        return not any(callable(x) and not isinstance(x, keras.layers.Layer) for x in held)

    def get_config(self) -> dict:
        """Return the constructor's arguments, serialized."""
        names = inspect.signature(type(self)).parameters
        return {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in names}

    @classmethod
    def from_config(cls, config: dict, custom_objects=None) -> "Trunk":
        """Return a trunk from `get_config`'s dict."""
        return cls(**{k: keras.saving.deserialize_keras_object(v, custom_objects) for k, v in config.items()})


def as_features(output: Any) -> Features:
    """Return an encoder's output as a dict of features.

    A tensor becomes `pooled` [B, D], `sequence` [B, S, D] or `map` [B, H, W, C] by its rank. Where `pooled` is missing,
    it is the mean over positions, without masked ones.

    Raises:
        TypeError: for anything but a tensor or a dict of tensors.
    """
    features = dict(output) if isinstance(output, Mapping) else {}
    if isinstance(output, keras.KerasTensor) and 2 <= len(output.shape) <= 4:
        features[("pooled", "sequence", "map")[len(output.shape) - 2]] = output
    if not features or not all(isinstance(x, keras.KerasTensor) for x in features.values()):
        raise TypeError(
            "An encoder must return a dict of features, or a tensor [B, D], [B, S, D] or [B, H, W, C]; "
            f"received {output}."
        )
    if "pooled" not in features and "sequence" in features:
        features["pooled"] = MaskedMean()(features["sequence"], mask=features.get("mask"))
    elif "pooled" not in features and "map" in features:
        features["pooled"] = keras.layers.GlobalAveragePooling2D()(features["map"])
    return features
