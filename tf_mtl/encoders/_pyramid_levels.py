"""The pyramid's own convolutions, and stages that collect the levels they read."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tf_mtl._pyramid import is_level
from tf_mtl.encoders._staged import flat


@keras.saving.register_keras_serializable("tf_mtl")
class PyramidLevels(keras.layers.Layer):
    """From features with an encoder's levels to the pyramid's levels, and the features that are no levels.

    Without `map` and `pooled` among the features, these are the encoder's coarsest level and its mean.

    Args:
        levels: The levels to return.
        filters: The channels of each of them.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`.
    """

    def __init__(self, levels: Sequence[str], filters: int, name: str = "pyramid_levels", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.levels = list(levels)
        self.filters = filters

    def build(self, input_shape: Mapping[str, Any]) -> None:
        """Create the convolutions for features of these shapes."""
        given = self._given(input_shape)
        self._lateral = {level: self._convolution(f"lateral_{level}", 1, input_shape[level][-1]) for level in given}
        self._smooth = {level: self._convolution(f"smooth_{level}", 3, self.filters) for level in given}
        self._coarser = {
            level: self._convolution(f"coarser_{level}", 3, self.filters, stride=2)
            for level in self.levels
            if level not in given
        }

    def _convolution(self, part, kernel, channels, stride=1):
        layer = keras.layers.Conv2D(
            self.filters, kernel, stride, padding="same", dtype=self.dtype_policy, name=f"{self.name}_{part}"
        )
        layer.build((None, None, None, channels))
        return layer

    def call(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the features."""
        given = self._given(inputs)
        levels: dict[str, Any] = {}
        for level in reversed(given):
            x = self._lateral[level](inputs[level])
            if levels:
                coarser = next(reversed(levels.values()))
                x += _enlarged(coarser, x)
            levels[level] = x
        levels = {level: self._smooth[level](x) for level, x in levels.items()}
        for level, layer in self._coarser.items():
            levels[level] = layer(levels[self.levels[self.levels.index(level) - 1]])
        last = inputs[max(name for name in inputs if is_level(name))]
        others = {name: x for name, x in inputs.items() if not is_level(name)}
        whole = {"map": last, "pooled": keras.ops.mean(last, (1, 2)), **others}
        return {**whole, **{level: levels[level] for level in self.levels}}

    def _given(self, features: Mapping[str, Any]) -> list[str]:
        """The levels that the encoder has."""
        given = [level for level in self.levels if level in features]
        if given != self.levels[: len(given)] or not given:
            raise ValueError(
                f"`encoder` of FeaturePyramid must return the levels {self.levels}, at least the first of them, "
                f"received {sorted(features)}. Set `levels`, or use a deeper encoder or images whose size its strides "
                "divide."
            )
        return given

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "levels": self.levels, "filters": self.filters}


@keras.saving.register_keras_serializable("tf_mtl")
class LevelStage(keras.layers.Layer):
    """A stage of an encoder, from the coarsest level to the next one; earlier levels that the pyramid reads remain.

    Args:
        layers: The stage's layers, which are applied in turn.
        levels: The pyramid's levels.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`.
    """

    def __init__(self, layers: Sequence[keras.layers.Layer], levels: Sequence[str], name: str, **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.layers = list(layers)
        self.levels = list(levels)

    def build(self, input_shape: Any) -> None:
        """Create the layers' variables."""
        shape = input_shape[max(input_shape)] if isinstance(input_shape, Mapping) else input_shape
        for layer in self.layers:
            if not layer.built:
                layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Return the levels, of which the coarsest, the last by name, is this stage's output."""
        earlier = inputs if isinstance(inputs, Mapping) else {"P0": inputs}
        source = max(earlier)
        y = earlier[source]
        for layer in self.layers:
            y = layer(y, training=training) if layer._call_has_training_arg else layer(y)
        level = _level(source, earlier[source], y, self.name)
        return {**{key: x for key, x in earlier.items() if key in self.levels}, level: y}

    def get_config(self) -> dict[str, Any]:
        layers = [keras.saving.serialize_keras_object(layer) for layer in self.layers]
        return {**super().get_config(), "layers": layers, "levels": self.levels}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LevelStage":
        layers = [keras.saving.deserialize_keras_object(layer) for layer in config["layers"]]
        return cls(**{**config, "layers": layers})


def level_stages(stages: Sequence[Any], levels: Sequence[str], name: str) -> list[LevelStage]:
    """Return an encoder's stages from a map to a map as ones that collect levels."""
    return [LevelStage(list(flat([stage])), levels, name=f"{name}_stage_{i}") for i, stage in enumerate(stages)]


def _level(source, before, after, name):
    """The level of a map by its size, which strides of 2 halve, rounded up."""
    sizes = before.shape[1:3]
    for level in range(int(source[1:]), 8):
        if tuple(after.shape[1:3]) == tuple(sizes):
            return f"P{level}"
        sizes = [-(-size // 2) for size in sizes]
    raise ValueError(
        f"Stage '{name}' returned a map of size {tuple(after.shape[1:3])} for one of {tuple(before.shape[1:3])}, which "
        "is no level of a pyramid. Use strides of 2 and padding='same', and images of known size."
    )


def _enlarged(coarser, x):
    """A map repeated to twice its size, cut to that of another."""
    for axis in (1, 2):
        coarser = keras.ops.repeat(coarser, 2, axis)
    return coarser[:, : x.shape[1], : x.shape[2]]
