"""A feature pyramid over the levels of an image encoder."""

import functools
from collections.abc import Sequence
from typing import Any

import keras

from tf_mtl._arguments import integer
from tf_mtl._pyramid import checked_levels
from tf_mtl.encoders._pyramid_levels import PyramidLevels, level_stages


@keras.saving.register_keras_serializable("tf_mtl")
class FeaturePyramid(keras.layers.Layer):
    """An image encoder with a feature pyramid: each level also knows what the coarser ones have seen.

    The encoder returns levels such as `P3`, `P4` and `P5`, maps [B, h, w, C] of strides 8, 16 and 32, as `ConvEncoder`
    and `BackboneEncoder` do. Here each becomes a map of `filters` channels: a 1x1 convolution of the encoder's level,
    plus the next coarser map, enlarged, and a 3x3 convolution of the sum. Levels above the encoder's last one are
    convolutions of stride 2. The encoder's other features, such as `map` and `pooled`, remain; its other
    levels, which are no part of the pyramid, do not.

    Trunks that share an encoder stage by stage, such as `tf_mtl.trunks.CrossStitch`, take it as well: the pyramid is
    then the last stage.

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
        self._pyramid = PyramidLevels(self.levels, self.filters, dtype=self.dtype_policy, name=f"{name}_levels")

    def build(self, input_shape: Any) -> None:
        """Create the variables for images of `input_shape`."""
        if not self.encoder.built:
            self.encoder.build(input_shape)
        features = self.encoder.compute_output_spec(keras.KerasTensor(input_shape))
        self._pyramid.build({name: x.shape for name, x in features.items()})

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Return the encoder's features, with the pyramid's levels."""
        return self._pyramid(self.encoder(inputs, training=training))

    @functools.cached_property
    def stages(self) -> list[keras.layers.Layer]:
        """The encoder's stages, which also keep the levels so far, and the pyramid as the last one.

        Raises:
            ValueError: if the encoder has no stages.
        """
        if not hasattr(self.encoder, "stages"):
            raise ValueError(
                f"`encoder` of FeaturePyramid has no stages, received {type(self.encoder).__name__}. Pass a "
                "ConvEncoder or BackboneEncoder."
            )
        return [*level_stages(self.encoder.stages, self.levels, self.name), self._pyramid]

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
