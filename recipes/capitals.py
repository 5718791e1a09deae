"""Capital letters for BERTs whose vocabulary is lower-case, such as MiniLM: they matter for names."""

import functools
from collections.abc import Mapping
from typing import Any, Self

import keras
import tensorflow as tf

import tf_mtl as mtl

CAPITALS = "capitals"


@keras.saving.register_keras_serializable("recipes")
class CapitalizedSubwords(mtl.text.TextPreprocessor):
    """Sub-words, and `capitals`, 1 where they belong to a word that begins with a capital letter.

    Args:
        subwords: The preprocessor that returns the other inputs.
        length: The longest sequence of tokens; None for that of `subwords`.
        pair: None, since `BertWithCapitals` takes single texts only.
        **kwargs: `name`; see `keras.layers.Layer`.
    """

    names = (*mtl.text.Subwords.names, CAPITALS)

    def __init__(self, subwords: mtl.text.Subwords, length: int | None = None, pair: None = None, **kwargs: Any):
        super().__init__(length or subwords.length, pair, **kwargs)
        self.subwords = subwords.with_length(self.length)

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids."""
        return self.subwords.vocabulary_size

    def padding(self, name: str) -> int:
        """Return the value after the end of a row in the input of this name."""
        return self.subwords.padding(name)

    def encode(self, words: Any, second: Any = None) -> dict[str, tf.RaggedTensor]:
        """Return the inputs of words [B, None] by name, ragged int32 [B, None]."""
        inputs = self.subwords.encode(words, second)
        starts = inputs["word_starts"]
        is_capitalized = words.with_values(tf.strings.regex_full_match(words.values, r"\p{Lu}(?s:.*)"))
        before_first_word = tf.zeros([words.nrows(), 1], tf.int32)
        by_word = tf.concat([before_first_word, tf.cast(is_capitalized, tf.int32).to_tensor()], 1)
        by_token = tf.gather(by_word, tf.cumsum(starts.to_tensor(), 1), batch_dims=1)
        return {**inputs, CAPITALS: tf.RaggedTensor.from_tensor(by_token, starts.row_lengths())}

    def word_counts(self, encoded: dict[str, tf.RaggedTensor], segment: int = 0) -> tf.Tensor:
        """Return the number of words of each row that were kept, int64 [B]."""
        return self.subwords.word_counts(encoded, segment)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "subwords": keras.saving.serialize_keras_object(self.subwords)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return a preprocessor from `get_config`'s dict."""
        return cls(**{**config, "subwords": keras.saving.deserialize_keras_object(config["subwords"])})


@keras.saving.register_keras_serializable("recipes")
class BertWithCapitals(keras.layers.Layer):
    """A BERT that adds a learnt vector to the embeddings of the tokens of capitalized words.

    It is that of the second segment, which single texts do not have. `forget_segments` sets it to that of the first.

    Args:
        encoder: A `BackboneEncoder` around a BERT, or its first stage.
        name: Name of the layer; None for that of the encoder.
        **kwargs: See `keras.layers.Layer`.
    """

    def __init__(self, encoder: keras.layers.Layer, name: str | None = None, **kwargs: Any):
        super().__init__(name=name or encoder.name, **kwargs)
        self.encoder = encoder

    @functools.cached_property
    def stages(self) -> list[keras.layers.Layer]:
        """The stages of the encoder, of which the first reads the capitals."""
        first, *others = self.encoder.stages
        return [BertWithCapitals(first), *others]

    def build(self, input_shape: Any) -> None:
        """Do nothing: a backbone creates its variables in its constructor."""

    def call(self, inputs: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """Return the encoder's features."""
        segments = {name: x for name, x in inputs.items() if name != CAPITALS} | {"segment_ids": inputs[CAPITALS]}
        return {**self.encoder(segments, training=training), "word_starts": inputs["word_starts"]}

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "encoder": keras.saving.serialize_keras_object(self.encoder)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return a layer from `get_config`'s dict."""
        return cls(**{**config, "encoder": keras.saving.deserialize_keras_object(config["encoder"])})


def forget_segments(backbone: keras.Model) -> None:
    """Let a BERT begin with the vector of the first segment for both."""
    table = backbone.get_layer("segment_embedding").embeddings
    table.assign(tf.repeat(table[:1], table.shape[0], 0))
