"""An encoder that also returns the outputs of its stages."""

from typing import Any

import keras

from tf_mtl._keys import MASK, SEQUENCE, stages_key
from tf_mtl.encoders._staged import flat
from tf_mtl.layers._masked_mean import masked_mean


@keras.saving.register_keras_serializable("tf_mtl")
class WithStages(keras.layers.Layer):
    """A text encoder that also returns the outputs of its stages, of which tasks can learn a mix (`Task(layers=)`).

    In addition to the encoder's features it returns `sequence_stages` [B, S, L, D], the sequence after each of L
    stages, and `pooled_stages` [B, L, D], their means over tokens. Stages of another width than the last one, such as
    embeddings, are left out.

    Args:
        encoder: An encoder with `stages` that return `sequence` and `mask`, such as `BackboneEncoder`,
            `TransformerEncoder` or `RecurrentEncoder`.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`.

    Raises:
        ValueError: if the encoder has no such stages.

    Example:

    >>> encoder = mtl.encoders.TransformerEncoder(vocabulary_size=50, max_length=8, dim=16, layers=2, heads=2)
    >>> mtl.encoders.WithStages(encoder)(np.array([[4, 7, 0, 0]]))["sequence_stages"].shape
    TensorShape([1, 4, 3, 16])
    """

    def __init__(self, encoder: keras.layers.Layer, name: str = "with_stages", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        if not hasattr(encoder, "stages"):
            raise ValueError(
                f"`encoder` must have `stages`, received a {type(encoder).__name__}. Pass a BackboneEncoder, "
                "TransformerEncoder or RecurrentEncoder."
            )
        self.encoder = encoder
        self._steps = list(flat(encoder.stages))

    def build(self, input_shape: Any) -> None:
        """Create the encoder's variables."""
        if not self.encoder.built:
            self.encoder.build(input_shape)

    def call(self, inputs: Any) -> dict[str, Any]:
        """Return the features."""
        features, sequences = inputs, []
        for stage in self._steps:
            features = stage(features)
            if not isinstance(features, dict) or SEQUENCE not in features:
                raise ValueError(
                    f"`encoder` must have stages that return '{SEQUENCE}', received {features} from '{stage.name}'."
                )
            sequences.append(features[SEQUENCE])
        width = sequences[-1].shape[-1]
        stages = keras.ops.stack([x for x in sequences if x.shape[-1] == width], -2)
        mask = features[MASK]
        means = [masked_mean(stages[..., index, :], mask) for index in range(stages.shape[-2])]
        return {
            "pooled": means[-1],
            **features,
            stages_key("pooled"): keras.ops.stack(means, 1),
            stages_key(SEQUENCE): stages,
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "encoder": keras.saving.serialize_keras_object(self.encoder)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "WithStages":
        return cls(**{**config, "encoder": keras.saving.deserialize_keras_object(config["encoder"])})
