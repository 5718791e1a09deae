"""A Transformer encoder of token ids, trained from nothing."""

import keras
import keras_hub

from tf_mtl.encoders._pooling import masked_mean


@keras.saving.register_keras_serializable("tf_mtl")
class TransformerEncoder(keras.layers.Layer):
    """Token and position embeddings and Transformer layers (Vaswani et al., "Attention Is All You Need", 2017).

    From token ids [B, S], where 0 is padding, to `sequence` [B, S, dim], `pooled` [B, dim], its mean over tokens, and
    `mask` [B, S].

    Args:
        vocabulary_size: Number of token ids, padding included.
        max_length: Longest sequence S.
        dim: Width of the embeddings and layers.
        layers: Number of Transformer layers.
        heads: Attention heads of each layer.
        feedforward_dim: Width of the layers' feed-forward part; 4 x `dim` by default.
        dropout: Dropout after the embeddings and in the layers.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`.

    Example:

    >>> encoder = mtl.encoders.TransformerEncoder(vocabulary_size=50, max_length=8, dim=16, layers=1, heads=2)
    >>> encoder(np.array([[4, 7, 0, 0]]))["pooled"].shape
    TensorShape([1, 16])
    """

    def __init__(
        self,
        vocabulary_size: int,
        max_length: int,
        dim: int = 128,
        layers: int = 2,
        heads: int = 4,
        feedforward_dim: int | None = None,
        dropout: float = 0.1,
        name: str = "transformer_encoder",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.config = {
            "vocabulary_size": vocabulary_size,
            "max_length": max_length,
            "dim": dim,
            "layers": layers,
            "heads": heads,
            "feedforward_dim": feedforward_dim,
            "dropout": dropout,
        }
        policy = self.dtype_policy
        self.embedding = keras_hub.layers.TokenAndPositionEmbedding(
            vocabulary_size, max_length, dim, dtype=policy, name="embedding"
        )
        self.drop = keras.layers.Dropout(dropout, dtype=policy, name="dropout")
        self.blocks = [
            keras_hub.layers.TransformerEncoder(
                feedforward_dim or 4 * dim, heads, dropout=dropout, dtype=policy, name=f"block_{i}"
            )
            for i in range(layers)
        ]

    def build(self, input_shape):
        """Make the layers' variables for token ids of `input_shape` [B, S]."""
        self.embedding.build(input_shape)
        for block in self.blocks:
            block.build((None, input_shape[1], self.config["dim"]))

    def call(self, inputs, training=None):
        """Return the features of token ids [B, S]."""
        mask = keras.ops.not_equal(inputs, 0)
        x = self.drop(self.embedding(inputs), training=training)
        for block in self.blocks:
            x = block(x, padding_mask=mask, training=training)
        return {"pooled": masked_mean(x, mask), "sequence": x, "mask": mask}

    def get_config(self):
        return {**super().get_config(), **self.config}
