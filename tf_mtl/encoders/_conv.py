"""A convolutional encoder of images, trained from scratch."""

from collections.abc import Sequence
from typing import Any

import keras

from tf_mtl.encoders._staged import StagedEncoder, flat


@keras.saving.register_keras_serializable("tf_mtl")
class ConvEncoder(StagedEncoder):
    """Stages of two 3x3 convolutions, each with batch normalisation and ReLU; max pooling between the stages.

    From images [B, H, W, C] to `map` [B, h, w, filters[-1]], and `pooled` [B, filters[-1]], which is the mean over
    positions. Each stage but the first halves height and width, rounded up; its output is a level of the feature
    pyramid, `P1` of stride 2, `P2` of stride 4, and so on. Batch normalisation is synchronized over replicas.

    Args:
        filters: Channels of each stage.
        dropout: Fraction of the channels that is dropped after each stage in training.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`.

    Attributes:
        stages: One list per stage, with one list of layers for each of its two convolutions; for trunks such as
            `tf_mtl.trunks.CrossStitch`.

    Raises:
        ValueError: if `filters` is empty.

    Example:

    >>> features = mtl.encoders.ConvEncoder([8, 16])(np.ones((2, 12, 12, 3)))
    >>> features["map"].shape, features["pooled"].shape
    (TensorShape([2, 6, 6, 16]), TensorShape([2, 16]))
    """

    def __init__(self, filters: Sequence[int], dropout: float = 0.0, name: str = "conv_encoder", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        if not filters:
            raise ValueError(f"`filters` must contain the channels of at least one stage, received {filters}.")
        self.filters = list(filters)
        self.dropout = dropout
        self.stages = [self._stage(index, channels) for index, channels in enumerate(self.filters)]

    def call(self, inputs: Any) -> dict[str, Any]:
        """Return `map`, `pooled` and the levels."""
        features: dict[str, Any] = {}
        x = inputs
        for level, stage in enumerate(self.stages):
            for layer in flat([stage]):
                x = layer(x)
            features |= {f"P{level}": x} if level else {}
        return {"pooled": keras.ops.mean(x, (1, 2)), "map": x, **features}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": list(self.filters), "dropout": self.dropout}

    def _stage(self, index, filters):
        pool = [keras.layers.MaxPooling2D(padding="same", name=f"{self.name}_pool_{index}")] if index else []
        drop = (
            [keras.layers.SpatialDropout2D(self.dropout, name=f"{self.name}_dropout_{index}")] if self.dropout else []
        )
        return [[*pool, *self._convolution(f"{index}_a", filters)], [*self._convolution(f"{index}_b", filters), *drop]]

    def _convolution(self, suffix, filters):
        policy = self.dtype_policy
        return [
            keras.layers.Conv2D(
                filters, 3, padding="same", use_bias=False, dtype=policy, name=f"{self.name}_conv_{suffix}"
            ),
            keras.layers.BatchNormalization(synchronized=True, dtype=policy, name=f"{self.name}_norm_{suffix}"),
            keras.layers.ReLU(dtype=policy, name=f"{self.name}_relu_{suffix}"),
        ]
