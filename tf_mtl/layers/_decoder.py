"""A Transformer decoder."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range, integer
from tf_mtl._keys import SEQUENCE
from tf_mtl._shapes import keras_mask
from tf_mtl.layers._decoding import Decoding
from tf_mtl.layers._empty_sequence import EmptySequence


@keras.saving.register_keras_serializable("tf_mtl")
class Decoder(keras.layers.Layer):
    """A Transformer decoder, which writes a text token by token and reads a sequence by cross-attention.

    Given the `tokens` of a text [B, T], it returns the logits [B, T, V] of each token from those before it, behind a
    start token. Without them, it generates a text with a sampler and returns its tokens and their log-probabilities,
    both float32, [B, `length`, 2]. Keys and values of earlier tokens are cached.

    The layers are `keras_hub.layers.TransformerDecoder`, normalized first. Token embeddings are multiplied by the
    square root of `dim`, as in the paper, and added to learned position embeddings. Their table also gives the logits
    (Press & Wolf, "Using the output embedding to improve language models", EACL 2017).

    One decoder may serve several tasks: pass it to each. Like an encoder, it is not copied: models that are built with
    the same decoder share its weights.

    Args:
        vocabulary_size: The number V of token ids.
        length: The largest number of tokens T of a text, its end included.
        dim: Width of the embeddings and layers.
        layers: Number of Transformer layers.
        heads: Number of attention heads of each layer.
        feedforward_dim: Width of the layers' feed-forward part; 4 x `dim` by default.
        dropout: Dropout rate after the embeddings and in the layers.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`.

    Raises:
        ValueError: if a number is out of range.

    Reference: Vaswani et al., "Attention is all you need", NeurIPS 2017.

    Example:

    >>> decoder = mtl.layers.Decoder(vocabulary_size=50, length=6, dim=16, layers=1, heads=2)
    >>> sequence = np.ones((2, 4, 16), "float32")
    >>> decoder(sequence, tokens=np.array([[5, 7, 3], [9, 3, 0]]), start=2).shape
    TensorShape([2, 3, 50])
    >>> decoder(sequence, start=2, end=3, sampler=mtl.samplers.Greedy()).shape
    TensorShape([2, 6, 2])
    """

    reads = SEQUENCE

    def __init__(
        self,
        vocabulary_size: int,
        length: int,
        dim: int = 128,
        layers: int = 2,
        heads: int = 4,
        feedforward_dim: int | None = None,
        dropout: float = 0.1,
        name: str = "decoder",
        **kwargs: Any,
    ):
        import keras_hub  # takes a second, which `import tf_mtl` need not

        super().__init__(name=name, **kwargs)
        self.supports_masking = True
        self.vocabulary_size = integer("vocabulary_size", vocabulary_size, 3)
        self.length = integer("length", length, 1)
        self.dim = integer("dim", dim, 1)
        self.heads = integer("heads", heads, 1)
        self.feedforward_dim = None if feedforward_dim is None else integer("feedforward_dim", feedforward_dim, 1)
        self.dropout = in_range("dropout", dropout, 0, 1, open_high=True)
        if dim % heads:
            raise ValueError(f"`dim` must be a multiple of `heads`, received {dim} and {heads}.")
        policy, parts = self.dtype_policy, keras_hub.layers
        self.positions = parts.PositionEmbedding(length, dtype=policy, name="position_embedding")
        self.blocks = [
            parts.TransformerDecoder(
                feedforward_dim or 4 * dim,
                heads,
                dropout=dropout,
                activation="gelu",
                normalize_first=True,
                dtype=policy,
                name=f"block_{index}",
            )
            for index in range(integer("layers", layers, 1))
        ]
        self.normalization = keras.layers.LayerNormalization(dtype=policy, name="normalization")
        self.drop = keras.layers.Dropout(dropout, dtype=policy, name="dropout")
        self.embedding: Any = None  # unless it uses the encoder's table

    def build(self, memory_shape: Any, table_shape: Any = None) -> None:
        """Create the variables for a sequence [B, S, D] and, if the encoder's is used, a table [V, dim]."""
        if table_shape is None:
            self.embedding = keras.layers.ReversibleEmbedding(
                self.vocabulary_size, self.dim, dtype=self.dtype_policy, name="token_embedding"
            )
            self.embedding.build((None, None))
        elif tuple(table_shape) != (self.vocabulary_size, self.dim):
            raise ValueError(
                f"The table of token embeddings must have the shape ({self.vocabulary_size}, {self.dim}), the "
                f"decoder's `vocabulary_size` and `dim`, received {tuple(table_shape)}."
            )
        shape = (None, None, self.dim)
        self.positions.build(shape)
        self.normalization.build(shape)
        for block in self.blocks:
            block.build(shape, memory_shape)
        self.built = True

    def call(
        self,
        memory: Any,
        valid: Any = None,
        tokens: Any = None,
        table: Any = None,
        start: int = 0,
        end: int = 0,
        padding: int = 0,
        sampler: Any = None,
        training: bool | None = None,
    ) -> Any:
        """Return the logits of tokens, or generated tokens with their log-probabilities.

        Args:
            memory: The sequence that it reads, [B, S, D].
            valid: Which of its positions are not padding, [B, S]; None for those of Keras' mask.
            tokens: The tokens of a text, [B, T]; None to generate one. Logits of those behind `length` are 0.
            table: The table of token embeddings [V, dim]; None to use the decoder's own.
            start: The token before a text.
            end: The token that ends one.
            padding: The token after the end.
            sampler: What chooses the tokens; see `tf_mtl.samplers`.
            training: Whether dropout is in force.
        """
        valid = keras_mask(memory) if valid is None else valid
        memory = tf.identity(memory)  # without Keras' mask
        if tokens is None:
            return self._generated(memory, valid, table, start, end, padding, sampler)
        self._check_table(table)
        count, tokens = tf.shape(tokens)[1], tf.cast(tokens[:, : self.length], tf.int32)
        fed = tf.concat([tf.fill([tf.shape(tokens)[0], 1], start), tokens[:, :-1]], 1)[:, : tf.shape(tokens)[1]]
        fed = tf.ensure_shape(fed, tokens.shape)
        x = self.drop(self._embedded(fed, 0, table), training=training)
        for block in self.blocks:
            x = block(x, memory, encoder_padding_mask=valid, training=training)
        # batches may be padded to more than `length`
        return tf.pad(self._logits(x, table), [[0, 0], [0, count - tf.shape(x)[1]], [0, 0]])

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """Return no mask."""

    def compute_output_spec(
        self, memory: Any, valid: Any = None, tokens: Any = None, table: Any = None, **_: Any
    ) -> Any:
        """Return the symbolic logits, or what is generated."""
        self._check_table(table)
        shape = (self.length, 2) if tokens is None else (tokens.shape[1], self.vocabulary_size)
        return keras.KerasTensor((memory.shape[0], *shape), "float32")

    def empty_memory(self, x: Any, name: str) -> Any:
        """Return what it reads to write a text that depends on nothing.

        Args:
            x: A symbolic sequence of the same rows and width.
            name: Name of the layer that is added.
        """
        return EmptySequence(name=name)(x)

    def _check_table(self, table):
        if (table is None) == (self.embedding is None):
            raise ValueError(
                f"Tasks that share decoder '{self.name}' must all have tied=True, or all tied=False; received both."
            )

    def _generated(self, memory, valid, table, start, end, padding, sampler):
        """The tokens of generated texts and their log-probabilities, [B, length, 2]."""
        rows, positions = tf.shape(memory)[0], tf.shape(memory)[1]
        valid = tf.ones([rows, positions], tf.bool) if valid is None else tf.cast(valid, tf.bool)

        def cache(size):
            return tf.zeros([rows, 2, size, self.heads, self.dim // self.heads], self.compute_dtype)

        def step(tokens, position, state, context):
            memory, valid, read = context
            logits, state, _ = self._next(tokens, position, state, read, memory, valid, table, None)
            return logits, state

        empty = tuple(cache(self.length) for _ in self.blocks), tuple(cache(positions) for _ in self.blocks)
        logits, state, read = self._next(tf.fill([rows], start), 0, *empty, memory, valid, table, 0)
        delay = tf.zeros([rows], tf.int32)
        decoding = Decoding(logits, state, (memory, valid, read), step, self.length, end, padding, delay)
        tokens, log_probabilities = sampler(decoding)
        return tf.stack([tf.cast(tokens, tf.float32), log_probabilities], -1)

    def _next(self, tokens, position, state, read, memory, valid, table, read_from):
        """The logits after the tokens [B] at a position, and the caches of self-attention and cross-attention."""
        x, caches, read_caches = self._embedded(tokens[:, None], position, table), [], []
        for block, cache, read_cache in zip(self.blocks, state, read, strict=True):
            x, *new = block(
                x,
                memory,
                encoder_padding_mask=valid,
                self_attention_cache=cache,
                self_attention_cache_update_index=position,
                cross_attention_cache=read_cache,
                cross_attention_cache_update_index=read_from,
                training=False,
            )
            caches.append(tf.ensure_shape(new[0], cache.shape))
            read_caches.append(new[1])
        return self._logits(x, table)[:, 0], tuple(caches), tuple(read_caches)

    def _embedded(self, tokens, position, table):
        x = self.embedding(tokens) if table is None else tf.gather(tf.cast(table, self.compute_dtype), tokens)
        return x * tf.cast(self.dim**0.5, x.dtype) + self.positions(x, start_index=position)

    def _logits(self, x, table):
        x = self.normalization(x)
        if table is None:
            return tf.cast(self.embedding(x, reverse=True), tf.float32)
        return tf.cast(tf.matmul(x, tf.cast(table, x.dtype), transpose_b=True), tf.float32)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "length": self.length,
            "dim": self.dim,
            "layers": len(self.blocks),
            "heads": self.heads,
            "feedforward_dim": self.feedforward_dim,
            "dropout": self.dropout,
        }
