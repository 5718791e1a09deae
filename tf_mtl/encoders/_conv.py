"""A convolutional encoder of images, trained from nothing."""

from collections.abc import Sequence

import keras

from tf_mtl.encoders._staged import StagedEncoder


@keras.saving.register_keras_serializable("tf_mtl")
class ConvEncoder(StagedEncoder):
    """Stages of two 3x3 convolutions, each with batch normalisation and ReLU; max pooling between the stages.

    From images [B, H, W, C] to `map` [B, h, w, filters[-1]], where each stage but the first halves height and width,
    and `pooled` [B, filters[-1]], its mean over positions. Batch normalisation is synchronized over replicas.

    Args:
        filters: Channels of each stage.
        dropout: Share of the channels that are dropped after each stage in training.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`.

    Attributes:
        stages: One list per stage, of its two halves; for trunks such as `tf_mtl.trunks.CrossStitch`.

    Raises:
        ValueError: if `filters` is empty.

    Example:

    >>> features = mtl.encoders.ConvEncoder([8, 16])(np.ones((2, 12, 12, 3)))
    >>> features["map"].shape, features["pooled"].shape
    (TensorShape([2, 6, 6, 16]), TensorShape([2, 16]))
    """

    def __init__(self, filters: Sequence[int], dropout: float = 0.0, name: str = "conv_encoder", **kwargs):
        super().__init__(name=name, **kwargs)
        if not filters:
            raise ValueError(f"`filters` must hold the channels of at least one stage, received {filters}.")
        self.filters = list(filters)
        self.dropout = dropout
        self.stages = [self._stage(place, size) for place, size in enumerate(self.filters)]

    def call(self, inputs):
        """Return `map` and `pooled`."""
        x = self.run(inputs)
        return {"pooled": keras.ops.mean(x, (1, 2)), "map": x}

    def get_config(self):
        return {**super().get_config(), "filters": list(self.filters), "dropout": self.dropout}

    def _stage(self, place, filters):
        pool = [keras.layers.MaxPooling2D(name=f"{self.name}_pool_{place}")] if place else []
        drop = (
            [keras.layers.SpatialDropout2D(self.dropout, name=f"{self.name}_dropout_{place}")] if self.dropout else []
        )
        return [[*pool, *self._half(f"{place}_a", filters)], [*self._half(f"{place}_b", filters), *drop]]

    def _half(self, place, filters):
        policy = self.dtype_policy
        return [
            keras.layers.Conv2D(
                filters, 3, padding="same", use_bias=False, dtype=policy, name=f"{self.name}_conv_{place}"
            ),
            keras.layers.BatchNormalization(synchronized=True, dtype=policy, name=f"{self.name}_norm_{place}"),
            keras.layers.ReLU(dtype=policy, name=f"{self.name}_relu_{place}"),
        ]
