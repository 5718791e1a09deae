"""A recurrent encoder of token ids."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl.encoders._staged import StagedEncoder
from tf_mtl.encoders._tokens import token_ids, token_mask, word_starts
from tf_mtl.layers._masked_mean import masked_mean
from tf_mtl.layers._valid_first import valid_first

_CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}


@keras.saving.register_keras_serializable("tf_mtl")
class RecurrentEncoder(StagedEncoder):
    """Token embeddings and bidirectional recurrent layers.

    From token ids [B, S], where 0 is padding, to `sequence` [B, S, 2 x units], `pooled` [B, 2 x units], which is the
    mean over tokens, and `mask` [B, S].

    Instead of token ids, the encoder accepts a dict with `token_ids` and, optionally, `padding_mask`, for padding whose
    id is not 0, and `word_starts`, for tokens that are sub-words; `word_starts` becomes a feature for
    `tf_mtl.tasks.Tagging`.

    Args:
        vocabulary_size: Number of token ids, including padding.
        dim: Width of the embeddings.
        units: Width of each direction of a layer.
        layers: Number of recurrent layers.
        cell: "lstm" or "gru".
        dropout: Dropout rate after the embeddings and after each layer.
        embeddings: Initial embeddings, a matrix [vocabulary_size, dim] such as the result of
            `tf_mtl.text.Words.embeddings`; random by default. They are trained unless you freeze the layer
            `encoder.stages[0].embedding`. If the matrix is given, the constructor creates all variables, so that trunks
            that copy the encoder copy the matrix.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`.

    Attributes:
        stages: The embeddings and each recurrent layer, for trunks such as `tf_mtl.trunks.Hierarchical`.

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
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        if cell not in _CELLS:
            raise ValueError(f"`cell` must be 'lstm' or 'gru', received {cell!r}.")
        if embeddings is not None and np.shape(embeddings) != (vocabulary_size, dim):
            raise ValueError(
                f"`embeddings` must have the shape [vocabulary_size, dim] = {(vocabulary_size, dim)}, "
                f"received {np.shape(embeddings)}."
            )
        self.config: dict[str, Any] = {
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
                RecurrentStage(units, cell, dropout, dtype=policy, name=f"{name}_layer_{index}")
                for index in range(layers)
            ),
        ]
        if embeddings is not None:
            self.build((None, None))

    def build(self, input_shape: Any) -> None:
        """Create the layers' variables for token ids of `input_shape` [B, S], or a dict of such shapes."""
        first, *further = self.stages
        if not first.built:
            first.build(input_shape)
        width = self.config["dim"]
        for stage in further:
            if not stage.built:
                stage.build({"sequence": (*token_ids(input_shape), width)})
            width = 2 * self.config["units"]

    def call(self, inputs: Any) -> dict[str, Any]:
        """Return the features of token ids [B, S], or of a dict with them."""
        features = self.run(inputs)
        return {"pooled": masked_mean(features["sequence"], features["mask"]), **features}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.config}


@keras.saving.register_keras_serializable("tf_mtl")
class WordEmbeddings(keras.layers.Layer):
    """From token ids [B, S] or a dict with them to `sequence` [B, S, dim] and `mask` [B, S]; the id 0 is padding."""

    def __init__(
        self, vocabulary_size: int, dim: int, dropout: float, embeddings: np.ndarray | None = None, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.config = {"vocabulary_size": vocabulary_size, "dim": dim, "dropout": dropout}
        initializer = "uniform" if embeddings is None else keras.initializers.Constant(embeddings)
        self.embedding = keras.layers.Embedding(
            vocabulary_size, dim, embeddings_initializer=initializer, dtype=self.dtype_policy, name="embedding"
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
class RecurrentStage(keras.layers.Layer):
    """A bidirectional layer from `sequence` and `mask` to the same; other features stay unchanged."""

    def __init__(self, units: int, cell: str, dropout: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.config = {"units": units, "cell": cell, "dropout": dropout}
        layer = _CELLS[cell](units, return_sequences=True, dtype=self.dtype_policy, name="forward")
        self.layer = keras.layers.Bidirectional(layer, dtype=self.dtype_policy, name="bidirectional")
        # Bidirectional copies `layer`. Keep the original: while Keras loads a model it tells objects apart by their
        # addresses, and Python could give the address of a deleted layer to another one.
        self._keep_alive = lambda: layer
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, input_shape: Any) -> None:
        """Create the layer's variables."""
        if not self.layer.built:
            self.layer.build(input_shape["sequence"])

    def call(self, inputs: Any) -> dict[str, Any]:
        """Return the layer's `sequence`, and the other features unchanged."""
        # cuDNN needs each row's valid steps at its start, and at least one of them.
        mask = tf.cast(inputs["mask"], tf.bool)
        order = valid_first(mask)
        steps = tf.maximum(tf.reduce_sum(tf.cast(mask, tf.int32), 1), 1)
        is_valid = tf.sequence_mask(steps, tf.shape(mask)[1])
        outputs = self.layer(tf.gather(inputs["sequence"], order, batch_dims=1), mask=is_valid)
        return {**inputs, "sequence": self.drop(tf.gather(outputs, tf.argsort(order, 1), batch_dims=1))}

    def compute_mask(self, inputs: Any, mask: Any = None) -> dict[str, None]:
        """Return no masks: the feature `mask` is the mask."""
        return dict.fromkeys(inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.config}
