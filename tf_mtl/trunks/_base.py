"""The base class of trunks, and the conversion of an encoder's output to features."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tf_mtl._keys import MASK, SEQUENCE
from tf_mtl._pyramid import is_level
from tf_mtl.layers._masked_mean import MaskedMean

Features = dict[str, keras.KerasTensor]


class Trunk(ABC):
    """A sharing structure: builds each task's features from the inputs with the functional API.

    A trunk keeps each argument of its constructor in an attribute of the same name; `get_config` reads these.
    """

    @abstractmethod
    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return `{task: features}` from symbolic inputs and task names."""

    def penalty(self, model: keras.Model) -> Any:
        """Return a scalar computed from the weights of `model` and added to its loss, or None for no penalty.

        Args:
            model: A model built with this trunk.
        """
        return None

    def single_task(self, task: str) -> "Trunk":
        """Return the trunk of a model with this task only."""
        return self

    def gated_layers(self, tasks: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return `{set of experts: {reader: layer}}`, the layers that weight experts by a gate; by default none.

        A reader is a task, or what tasks share. The first input of such a layer is the gate's weights [..., N], the
        others are the outputs of the N experts.

        Args:
            tasks: The task names.
        """
        return {}

    def adapter_norms(self, model: keras.Model) -> dict[str, dict[str, float]]:
        """Return `{task: {layer: norm}}`, how much each task's adapters change the encoder; by default nothing.

        Args:
            model: A model built with this trunk.
        """
        return {}

    @property
    def serializable(self) -> bool:
        """Whether the trunk can be saved: a function among its arguments cannot, layers and plain values can."""
        arguments = keras.tree.flatten(list(vars(self).values()))
        return not any(callable(x) and not isinstance(x, keras.layers.Layer) for x in arguments)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, serialized."""
        names = inspect.signature(type(self)).parameters
        return {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> "Trunk":
        """Return a trunk from the dict that `get_config` returned."""
        return cls(**{k: keras.saving.deserialize_keras_object(v, custom_objects) for k, v in config.items()})


def as_features(output: Any) -> Features:
    """Return an encoder's output as a dict of features.

    A tensor becomes `pooled` [B, D], `sequence` [B, S, D] or `map` [B, H, W, C], depending on its rank. A missing
    `map` is the coarsest level of a pyramid; a missing `pooled` is the mean of `sequence` over the unmasked positions,
    or of `map`. A mask belongs to one feature: `mask` to `sequence`, and `<feature>_mask` to any other.

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
    levels = [name for name in features if is_level(name)]
    if "map" not in features and levels:
        features["map"] = features[max(levels)]
    if "pooled" not in features and SEQUENCE in features:
        features["pooled"] = MaskedMean()(features[SEQUENCE], mask=features.get(MASK))
    elif "pooled" not in features and "map" in features:
        features["pooled"] = keras.layers.GlobalAveragePooling2D()(features["map"])
    return features
