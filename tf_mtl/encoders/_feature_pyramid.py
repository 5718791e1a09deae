"""A feature pyramid over the levels of an image encoder."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tf_mtl._arguments import integer
from tf_mtl._pyramid import checked_levels


@keras.saving.register_keras_serializable("tf_mtl")
class FeaturePyramid(keras.layers.Layer):
    """An image encoder with a feature pyramid: each level also knows what the coarser ones have seen.

    The encoder returns levels such as `P3`, `P4` and `P5`, maps [B, h, w, C] of strides 8, 16 and 32, as `ConvEncoder`
    and `BackboneEncoder` do. Here each becomes a map of `filters` channels: a 1x1 convolution of the encoder's level,
    plus the next coarser map, enlarged, and a 3x3 convolution of the sum. Levels above the encoder's last one are
    convolutions of stride 2. The encoder's other features, such as `map` and `pooled`, remain.

    Args:
        encoder: A layer from images to a dict of features with levels.
        levels: The levels to return.
        filters: The channels of each of them.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`.

    Raises:
        ValueError: for other names of levels, levels that are not consecutive, or an encoder without the finest of
            them.

    Reference: Lin et al., "Feature pyramid networks for object detection", CVPR 2017.

    Example:

    >>> encoder = mtl.encoders.FeaturePyramid(mtl.encoders.ConvEncoder([4, 8, 16]), ["P1", "P2", "P3"], filters=8)
    >>> features = encoder(np.ones((1, 16, 16, 3)))
    >>> {level: tuple(features[level].shape[1:]) for level in encoder.levels}
    {'P1': (8, 8, 8), 'P2': (4, 4, 8), 'P3': (2, 2, 8)}
    """

    def __init__(
        self,
        encoder: keras.layers.Layer,
        levels: Sequence[str] = ("P3", "P4", "P5"),
        filters: int = 64,
        name: str = "feature_pyramid",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self.encoder = encoder
        self.levels = checked_levels(name, levels)
        first, last = (int(level[1:]) for level in (self.levels[0], self.levels[-1]))
        if last - first + 1 != len(self.levels):
            raise ValueError(f"`levels` must be consecutive, such as ['P3', 'P4', 'P5'], received {self.levels}.")
        self.filters = integer("filters", filters, 1)

    def build(self, input_shape: Any) -> None:
        """Create the variables for images of `input_shape`."""
        if not self.encoder.built:
            self.encoder.build(input_shape)
        given_features = self.encoder.compute_output_spec(keras.KerasTensor(input_shape))
        given = self._given(given_features)
        self._lateral = {
            level: self._convolution(f"lateral_{level}", 1, given_features[level].shape[-1]) for level in given
        }
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

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Return the encoder's features, with the pyramid's levels."""
        features = self.encoder(inputs, training=training)
        given = self._given(features)
        levels: dict[str, Any] = {}
        for level in reversed(given):
            x = self._lateral[level](features[level])
            if levels:
                coarser = next(reversed(levels.values()))
                x += _enlarged(coarser, x)
            levels[level] = x
        levels = {level: self._smooth[level](x) for level, x in levels.items()}
        for level, layer in self._coarser.items():
            levels[level] = layer(levels[self.levels[self.levels.index(level) - 1]])
        others = {key: x for key, x in features.items() if key not in levels}
        return {**others, **{level: levels[level] for level in self.levels}}

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
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "levels": self.levels,
            "filters": self.filters,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "FeaturePyramid":
        return cls(**{**config, "encoder": keras.saving.deserialize_keras_object(config["encoder"])})


def _enlarged(coarser, x):
    """A map repeated to twice its size, cut to that of another."""
    for axis in (1, 2):
        coarser = keras.ops.repeat(coarser, 2, axis)
    return coarser[:, : x.shape[1], : x.shape[2]]
