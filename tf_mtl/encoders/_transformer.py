"""A Transformer encoder of token ids, trained from scratch."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._keys import TOKEN_TABLE
from tf_mtl.encoders._staged import StagedEncoder
from tf_mtl.encoders._tokens import token_ids, token_mask, word_starts
from tf_mtl.layers._masked_mean import masked_mean


@keras.saving.register_keras_serializable("tf_mtl")
class TransformerEncoder(StagedEncoder):
    """Token and position embeddings and Transformer layers (Vaswani et al., "Attention Is All You Need", 2017).

    From token ids [B, S], where 0 is padding, to `sequence` [B, S, dim], `pooled` [B, dim], which is the mean over
    tokens, and `mask` [B, S].

    Instead of token ids, the encoder accepts a dict with `token_ids` and, optionally, `padding_mask`, for padding whose
    id is not 0, and `word_starts`, for tokens that are sub-words; `word_starts` becomes a feature for
    `tf_mtl.tasks.Tagging`.

    Args:
        vocabulary_size: Number of token ids, including padding.
        max_length: Maximum length S of a sequence.
        dim: Width of the embeddings and layers.
        layers: Number of Transformer layers.
        heads: Number of attention heads of each layer.
        feedforward_dim: Width of the layers' feed-forward part; 4 x `dim` by default.
        dropout: Dropout rate after the embeddings and in the layers.
        token_table: Whether the table of token embeddings [V, dim] is a feature, `token_table`, for
            `tf_mtl.tasks.MaskedLM`. Trunks that do not call the encoder as a whole leave it out.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`.

    Attributes:
        stages: The embeddings and each Transformer layer, for trunks such as `tf_mtl.trunks.Hierarchical`.

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
        token_table: bool = False,
        name: str = "transformer_encoder",
        **kwargs: Any,
    ):
        import keras_hub  # takes a second, which `import tf_mtl` need not

        super().__init__(name=name, **kwargs)
        self.config: dict[str, Any] = {
            "vocabulary_size": vocabulary_size,
            "max_length": max_length,
            "dim": dim,
            "layers": layers,
            "heads": heads,
            "feedforward_dim": feedforward_dim,
            "dropout": dropout,
            "token_table": token_table,
        }
        policy = self.dtype_policy
        blocks = [
            keras_hub.layers.TransformerEncoder(
                feedforward_dim or 4 * dim, heads, dropout=dropout, dtype=policy, name=f"{name}_block_{index}"
            )
            for index in range(layers)
        ]
        first = EmbeddingStage(vocabulary_size, max_length, dim, dropout, dtype=policy, name=f"{name}_embedding")
        self.stages = [first, *(BlockStage(block, dtype=policy, name=f"{block.name}_stage") for block in blocks)]

    def build(self, input_shape: Any) -> None:
        """Create the layers' variables for token ids of `input_shape` [B, S], or a dict of such shapes."""
        first, *blocks = self.stages
        if not first.built:
            first.build(input_shape)
        for block in blocks:
            if not block.built:
                block.build({"sequence": (*token_ids(input_shape), self.config["dim"])})

    def call(self, inputs: Any) -> dict[str, Any]:
        """Return the features of token ids [B, S], or of a dict with them."""
        features = self.run(inputs)
        if self.config["token_table"]:
            table = self.stages[0].embedding.token_embedding.embeddings
            features[TOKEN_TABLE] = tf.identity(table)
        return {"pooled": masked_mean(features["sequence"], features["mask"]), **features}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.config}


@keras.saving.register_keras_serializable("tf_mtl")
class EmbeddingStage(keras.layers.Layer):
    """From token ids [B, S] or a dict with them to `sequence` [B, S, dim] and `mask` [B, S]; the id 0 is padding."""

    def __init__(self, vocabulary_size: int, max_length: int, dim: int, dropout: float, **kwargs: Any):
        import keras_hub

        super().__init__(**kwargs)
        self.config = {"vocabulary_size": vocabulary_size, "max_length": max_length, "dim": dim, "dropout": dropout}
        self.embedding = keras_hub.layers.TokenAndPositionEmbedding(
            vocabulary_size, max_length, dim, dtype=self.dtype_policy, name="embedding"
        )
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, input_shape: Any) -> None:
        """Create the embeddings."""
        if not self.embedding.built:
            self.embedding.build(token_ids(input_shape))

    def call(self, inputs: Any) -> dict[str, Any]:
        """Return `sequence` and `mask`, and `word_starts` if the inputs have it."""
        return {
            "sequence": self.drop(self.embedding(token_ids(inputs))),
            "mask": token_mask(inputs),
            **word_starts(inputs),
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.config}


@keras.saving.register_keras_serializable("tf_mtl")
class BlockStage(keras.layers.Layer):
    """From `sequence` and `mask` to the same, by a layer that accepts a `padding_mask`."""

    def __init__(self, layer: keras.layers.Layer, **kwargs: Any):
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape: Any) -> None:
        """Create the layer's variables."""
        if not self.layer.built:
            self.layer.build(input_shape["sequence"])

    def call(self, inputs: Any) -> dict[str, Any]:
        """Return the layer's `sequence`, and the other features unchanged."""
        return {**inputs, "sequence": self.layer(inputs["sequence"], padding_mask=inputs["mask"])}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "BlockStage":
        return cls(**{**config, "layer": keras.saving.deserialize_keras_object(config["layer"])})
