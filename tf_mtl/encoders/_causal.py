"""A decoder-only backbone of keras-hub, as an encoder and as a decoder."""

import functools
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl._keys import MASK, TOKEN_IDS, key_of
from tf_mtl.encoders._backbone import BackboneEncoder
from tf_mtl.encoders._continuation import Continuation, first
from tf_mtl.layers._empty_sequence import NoTokens


@keras.saving.register_keras_serializable("tf_mtl")
class CausalEncoder(BackboneEncoder):
    """A decoder-only backbone of keras-hub, such as GPT-2, Llama or Gemma 2, that reads texts and writes them.

    Called with a dict of inputs, it is a `BackboneEncoder`, which also returns the feature `token_ids` [B, S]. Pass it
    to `tf_mtl.trunks.HardSharing`, and as `decoder` to `tf_mtl.tasks.Generation`, which continues the input, and to
    `LanguageModel`: labelled tasks and texts then train the same weights.

    As a decoder, it is called with token ids [B, S], and continues them behind a start token. Given the `tokens` of a
    text [B, T], it returns the logits [B, T, V] of each token from those before it. Without them, it generates a text
    with a sampler and returns its tokens and their log-probabilities, both float32, [B, `length`, 2]. Keys and values
    of earlier tokens are cached. Greedy texts are those of keras-hub's `CausalLM.generate` after the same tokens.
    Inputs, start token and text must fit into the backbone's positions. keras-hub's GPT-NeoX generates as if all tokens
    had one position, so choose another backbone for generation.

    Args:
        backbone: A `keras_hub.models.Backbone` for which keras-hub has a `CausalLM`.
        length: The largest number of tokens T of a text that it writes, its end included.
        pooling: See `BackboneEncoder`; by default the last token, which is the only one that has read all others.
        name: Name of the layer.
        **kwargs: See `BackboneEncoder`.

    Raises:
        TypeError: if keras-hub has no causal language model for the backbone, or one that generates from more than
            tokens and a cache, such as that of Gemma 3.
        ValueError: if `length` is out of range, or for another `pooling`.

    Reference: Radford et al., "Improving language understanding by generative pre-training", 2018.

    Example:

    >>> import keras_hub
    >>> backbone = keras_hub.models.GPT2Backbone(
    ...     50, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16, max_sequence_length=12
    ... )
    >>> encoder = mtl.encoders.CausalEncoder(backbone, length=6)
    >>> ids = np.array([[5, 7, 9], [4, 0, 0]])
    >>> encoder({"token_ids": ids, "padding_mask": ids > 0})["pooled"].shape
    TensorShape([2, 8])
    >>> encoder(ids, valid=ids > 0, tokens=np.array([[5, 7, 3], [9, 3, 0]]), start=2).shape
    TensorShape([2, 3, 50])
    >>> encoder(ids, valid=ids > 0, start=2, end=3, sampler=mtl.samplers.Greedy()).shape
    TensorShape([2, 6, 2])
    """

    reads = TOKEN_IDS

    def __init__(
        self, backbone: keras.Model, length: int, pooling: str = "last", name: str = "causal_encoder", **kwargs: Any
    ):
        super().__init__(backbone, pooling=pooling, name=name, **kwargs)
        self.supports_masking = True
        self.length = integer("length", length, 1)
        _ = self._continuation  # raises for backbones that do not write texts
        positions = getattr(backbone, "max_sequence_length", length + 2)
        if positions < length + 2:
            raise ValueError(
                f"`length` must leave room for an input and a start token in the {positions} positions of `backbone`, "
                f"received {length}."
            )

    @property
    def vocabulary_size(self) -> int:
        """The number V of token ids."""
        return self.backbone.vocabulary_size

    @functools.cached_property
    def _continuation(self):
        return Continuation(self.backbone)

    def call(
        self,
        inputs: Any,
        training: bool | None = None,
        *,
        valid: Any = None,
        tokens: Any = None,
        table: Any = None,
        start: int = 0,
        end: int = 0,
        padding: int = 0,
        sampler: Any = None,
    ) -> Any:
        """Return features of a dict of inputs, or else logits of tokens or generated tokens; see `layers.Decoder`.

        Args:
            inputs: The backbone's inputs, or the tokens [B, S] that it continues.
            training: Whether dropout is in force.
            valid: Which of these tokens are not padding, [B, S]; None for all.
            tokens: The tokens of a text, [B, T]; None to generate one. Logits of those behind `length` are 0.
            table: Must be None: the backbone has its own table of token embeddings.
            start: The token before a text.
            end: The token that ends one.
            padding: The token after the end.
            sampler: What chooses the tokens; see `tf_mtl.samplers`.
        """
        if isinstance(inputs, Mapping):
            ids = {TOKEN_IDS: tf.cast(inputs[TOKEN_IDS], tf.int32)}
            features = super().call(inputs, training=training)
            return {**features, **ids, key_of(MASK, TOKEN_IDS): features[MASK]}
        given, counts = first(tf.cast(inputs, tf.int32), valid)
        if tokens is None:
            return self._continuation.generated(given, counts, self.length, start, end, padding, sampler)
        texts = tf.cast(tokens[:, : self.length], tf.int32)
        logits = self._continuation.logits(given, counts, texts, start, training)
        # batches may be padded to more than `length`
        return tf.pad(logits, [[0, 0], [0, tf.shape(tokens)[1] - tf.shape(texts)[1]], [0, 0]])

    def compute_output_spec(
        self, inputs: Any, valid: Any = None, tokens: Any = None, table: Any = None, **kwargs: Any
    ) -> Any:
        """Return the symbolic features, logits, or what is generated."""
        if isinstance(inputs, Mapping):
            return super().compute_output_spec(inputs, **kwargs)
        if table is not None:
            raise ValueError(f"Tasks that '{self.name}' writes for must have tied=False: it has its own table.")
        shape = (self.length, 2) if tokens is None else (tokens.shape[1], self.vocabulary_size)
        return keras.KerasTensor((inputs.shape[0], *shape), "float32")

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """Return no mask: it is a feature."""

    def empty_memory(self, x: Any, name: str) -> Any:
        """Return what a text is generated from that continues no tokens.

        Args:
            x: Any symbolic tensor with the same rows.
            name: Name of the layer that is added.
        """
        return NoTokens(name=name)(x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "length": self.length}
