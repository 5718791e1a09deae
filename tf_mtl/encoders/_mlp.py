"""An encoder of vectors."""

from collections.abc import Sequence
from typing import Any

import keras

from tf_mtl.encoders._staged import StagedEncoder


@keras.saving.register_keras_serializable("tf_mtl")
class MLPEncoder(StagedEncoder):
    """Dense layers, each followed by dropout: from vectors [B, F] to `pooled` [B, units[-1]].

    Args:
        units: Widths of the layers.
        activation: Their activation.
        dropout: Fraction of each layer's outputs that is dropped in training.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`.

    Attributes:
        stages: One list of layers for each entry of `units`, for trunks such as `tf_mtl.trunks.CrossStitch`.

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
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        if not units:
            raise ValueError(f"`units` must contain the width of at least one layer, received {units}.")
        self.units = list(units)
        self.activation = activation
        self.dropout = dropout
        self.stages = [self._stage(index, width) for index, width in enumerate(self.units)]

    def build(self, input_shape: Any) -> None:
        """Create the layers' variables for vectors [B, F].

        Raises:
            ValueError: for a dict of inputs.
        """
        if isinstance(input_shape, dict):
            raise ValueError(
                f"`inputs` must be one tensor, received a dict with the keys {sorted(input_shape)}. For a dict of "
                "columns use TabularEncoder, or pass a function of the dict: HardSharing(lambda x: encoder(x['name']))."
            )
        super().build(input_shape)

    def call(self, inputs: Any) -> dict[str, Any]:
        """Return `{"pooled": [B, units[-1]]}`."""
        return {"pooled": self.run(inputs)}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": list(self.units),
            "activation": self.activation,
            "dropout": self.dropout,
        }

    def _stage(self, index, width):
        policy = self.dtype_policy
        dense = keras.layers.Dense(width, self.activation, dtype=policy, name=f"{self.name}_dense_{index}")
        drop = [keras.layers.Dropout(self.dropout, dtype=policy, name=f"{self.name}_dropout_{index}")]
        return [dense, *(drop if self.dropout else [])]
