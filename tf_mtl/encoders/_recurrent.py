"""A recurrent encoder of token ids."""

import keras
import numpy as np

from tf_mtl.encoders._staged import StagedEncoder
from tf_mtl.encoders._tokens import token_ids, token_mask, word_map
from tf_mtl.layers._masked_mean import masked_mean

_CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}


@keras.saving.register_keras_serializable("tf_mtl")
class RecurrentEncoder(StagedEncoder):
    """Token embeddings and bidirectional recurrent layers.

    From token ids [B, S], where 0 is padding, to `sequence` [B, S, 2 x units], `pooled` [B, 2 x units], its mean over
    tokens, and `mask` [B, S]. It also takes a dict of `token_ids` and, where tokens are sub-words, `word_starts`, which
    becomes a feature for `tf_mtl.tasks.Tagging`; `padding_mask` says what is padding where its id is not 0.

    Args:
        vocabulary_size: Number of token ids, padding included.
        dim: Width of the embeddings.
        units: Width of each direction of a layer.
        layers: Number of recurrent layers.
        cell: "lstm" or "gru".
        dropout: Dropout after the embeddings and after each layer.
        embeddings: A matrix [vocabulary_size, dim] that the embeddings start from, as of
            `tf_mtl.text.Words.embeddings`; random by default. They are trained on, unless the layer
            `encoder.stages[0].embedding` is frozen. With it all variables are made at once, so that trunks that copy
            the encoder copy the matrix.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`.

    Attributes:
        stages: The embeddings and each recurrent layer; for trunks such as `tf_mtl.trunks.Hierarchical`.

    Raises:
        ValueError: for another cell, or a matrix of another shape.

    Example:

    >>> encoder = mtl.encoders.RecurrentEncoder(vocabulary_size=50, dim=8, units=4)
    >>> features = encoder(np.array([[4, 7, 0, 0]]))
    >>> features["sequence"].shape, features["pooled"].shape
    (TensorShape([1, 4, 8]), TensorShape([1, 8]))

    Reference: Graves & Schmidhuber, "Framewise phoneme classification with bidirectional LSTM", IJCNN 2005.
    """

    def __init__(
        self,
        vocabulary_size: int,
        dim: int = 128,
        units: int = 128,
        layers: int = 1,
        cell: str = "lstm",
        dropout: float = 0.3,
        embeddings: np.ndarray | None = None,
        name: str = "recurrent_encoder",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        if cell not in _CELLS:
            raise ValueError(f"`cell` must be 'lstm' or 'gru', received {cell!r}.")
        if embeddings is not None and np.shape(embeddings) != (vocabulary_size, dim):
            raise ValueError(
                f"`embeddings` must have the shape [vocabulary_size, dim] = {(vocabulary_size, dim)}, "
                f"received {np.shape(embeddings)}."
            )
        self.config = {
            "vocabulary_size": vocabulary_size,
            "dim": dim,
            "units": units,
            "layers": layers,
            "cell": cell,
            "dropout": dropout,
        }
        policy = self.dtype_policy
        first = WordEmbeddings(vocabulary_size, dim, dropout, embeddings, dtype=policy, name=f"{name}_embedding")
        self.stages = [
            first,
            *(
                RecurrentStage(units, cell, dropout, dtype=policy, name=f"{name}_layer_{place}")
                for place in range(layers)
            ),
        ]
        if embeddings is not None:
            self.build((None, None))

    def build(self, input_shape):
        """Make the layers' variables for token ids of `input_shape` [B, S], or a dict of such shapes."""
        first, *further = self.stages
        if not first.built:
            first.build(input_shape)
        width = self.config["dim"]
        for stage in further:
            if not stage.built:
                stage.build({"sequence": (*token_ids(input_shape), width)})
            width = 2 * self.config["units"]

    def call(self, inputs):
        """Return the features of token ids [B, S], or of a dict with them."""
        features = self.run(inputs)
        return {"pooled": masked_mean(features["sequence"], features["mask"]), **features}

    def get_config(self):
        return {**super().get_config(), **self.config}


@keras.saving.register_keras_serializable("tf_mtl")
class WordEmbeddings(keras.layers.Layer):
    """From token ids [B, S], where 0 is padding, or a dict with them, to `sequence` [B, S, dim] and `mask` [B, S]."""

    def __init__(self, vocabulary_size: int, dim: int, dropout: float, embeddings=None, **kwargs):
        super().__init__(**kwargs)
        self.config = {"vocabulary_size": vocabulary_size, "dim": dim, "dropout": dropout}
        given = {} if embeddings is None else {"embeddings_initializer": keras.initializers.Constant(embeddings)}
        self.embedding = keras.layers.Embedding(
            vocabulary_size, dim, dtype=self.dtype_policy, name="embedding", **given
        )
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, input_shape):
        """Make the embeddings."""
        if not self.embedding.built:
            self.embedding.build(token_ids(input_shape))

    def call(self, inputs):
        """Return `sequence` and `mask`, and `word_starts` if they are given."""
        return {
            "sequence": self.drop(self.embedding(token_ids(inputs))),
            "mask": token_mask(inputs),
            **word_map(inputs),
        }

    def get_config(self):
        return {**super().get_config(), **self.config}


@keras.saving.register_keras_serializable("tf_mtl")
class RecurrentStage(keras.layers.Layer):
    """A bidirectional layer, from `sequence` and `mask` to the same; what else there is stays."""

    def __init__(self, units: int, cell: str, dropout: float, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.config = {"units": units, "cell": cell, "dropout": dropout}
        layer = _CELLS[cell](units, return_sequences=True, dtype=self.dtype_policy, name="forward")
        self.layer = keras.layers.Bidirectional(layer, dtype=self.dtype_policy, name="bidirectional")
        # Bidirectional copies the layer; while a model is loaded, Keras takes objects at one address for one object.
        self._kept = lambda: layer
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, input_shape):
        """Make the layer's variables."""
        if not self.layer.built:
            self.layer.build(input_shape["sequence"])

    def call(self, inputs):
        """Return the layer's `sequence`, and the rest as it is."""
        # Keras' GPU kernels take no row without any step: the first one is run whatever it is, and the mask stays.
        first = keras.ops.equal(keras.ops.arange(keras.ops.shape(inputs["mask"])[1]), 0)
        mask = keras.ops.logical_or(inputs["mask"], first)
        return {**inputs, "sequence": self.drop(self.layer(inputs["sequence"], mask=mask))}

    def compute_mask(self, inputs, mask=None):
        """Return no masks: the features hold it."""
        return dict.fromkeys(inputs)

    def get_config(self):
        return {**super().get_config(), **self.config}
