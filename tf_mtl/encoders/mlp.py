"""An encoder of vectors."""

from collections.abc import Sequence

import keras


@keras.saving.register_keras_serializable("tf_mtl")
class MLPEncoder(keras.layers.Layer):
    """Dense layers, each followed by dropout: from vectors [B, F] to `pooled` [B, units[-1]].

    Args:
        units: Widths of the layers.
        activation: Their activation.
        dropout: Share of each layer's outputs dropped in training.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`.

    Raises:
        ValueError: if `units` is empty.

    Example:

    >>> mtl.encoders.MLPEncoder([32, 16])(np.ones((2, 8)))["pooled"].shape
    TensorShape([2, 16])
    """

    def __init__(
        self,
        units: Sequence[int],
        activation: str = "relu",
        dropout: float = 0.0,
        name: str = "mlp_encoder",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        if not units:
            raise ValueError(f"`units` must hold the width of at least one layer, received {units}.")
        self.units = list(units)
        self.activation = activation
        self.dropout = dropout
        self.dense = [
            keras.layers.Dense(width, activation=activation, dtype=self.dtype_policy, name=f"dense_{i}")
            for i, width in enumerate(self.units)
        ]
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, input_shape):
        """Make the layers' variables for vectors of `input_shape` [B, F]."""
        for layer, width in zip(self.dense, [input_shape[-1], *self.units[:-1]], strict=True):
            layer.build((None, width))

    def call(self, inputs, training=None):
        """Return `{"pooled": [B, units[-1]]}`."""
        x = inputs
        for layer in self.dense:
            x = self.drop(layer(x), training=training)
        return {"pooled": x}

    def get_config(self):
        return {
            **super().get_config(),
            "units": list(self.units),
            "activation": self.activation,
            "dropout": self.dropout,
        }
