"""The recipe's text encoders: from raw sentences to features."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import keras_hub
import minilm as pretrained
import numpy as np
import tensorflow as tf

import tf_mtl as mtl


@dataclass(frozen=True)
class TextEncoder:
    """How text becomes features.

    Attributes:
        preprocessor: From strings [B] to the model's inputs; it runs on the data and in the exported model.
        inputs: The model's symbolic inputs.
        encoder: From the inputs to features.
        word_dropout: Probability that a word of a training sentence is dropped.
        preprocess_once: Whether to run the preprocessor once, before training, because it is slow.
    """

    preprocessor: Callable[[tf.Tensor], Any]
    inputs: Any
    encoder: keras.layers.Layer
    word_dropout: float = 0.0
    preprocess_once: bool = False


def transformer(texts: np.ndarray) -> TextEncoder:
    """Return a small Transformer over the words of `texts`, to be trained from scratch."""
    length = 48
    words = keras.layers.TextVectorization(
        max_tokens=12_000, standardize=_standardize, output_sequence_length=length, name="words"
    )
    words.adapt(tf.data.Dataset.from_tensor_slices([str(text) for text in texts]).batch(1024))
    encoder = mtl.encoders.TransformerEncoder(
        words.vocabulary_size(), length, dim=128, layers=1, heads=4, feedforward_dim=256, dropout=0.4
    )
    inputs = keras.Input((length,), dtype="int32", name="token_ids")
    return TextEncoder(words, inputs, encoder, word_dropout=0.2)


def _standardize(text):
    """Convert to lower case and separate punctuation: emoticons and exclamation marks carry sentiment."""
    return tf.strings.regex_replace(tf.strings.lower(text), r"([^\w\s'])", r" \1 ")


def minilm(texts: np.ndarray) -> TextEncoder:
    """Return MiniLM, a BERT of 6 layers of width 384 pretrained on sentences, all of which is fine-tuned."""
    preprocessor, backbone = _load_minilm()
    inputs = {name: keras.Input((48,), dtype="int32", name=name) for name in backbone.input}
    return TextEncoder(preprocessor, inputs, mtl.encoders.BackboneEncoder(backbone, name="minilm"))


def frozen_minilm(texts: np.ndarray) -> TextEncoder:
    """Return dense layers on the features of MiniLM, which are computed once."""
    preprocessor, backbone = _load_minilm()
    backbone = mtl.encoders.BackboneEncoder(backbone, name="minilm", trainable=False)

    @tf.function
    def features(texts):
        return backbone(preprocessor(texts))["pooled"]

    encoder = mtl.encoders.MLPEncoder([512, 512], dropout=0.4)
    return TextEncoder(features, keras.Input((384,), name="features"), encoder, preprocess_once=True)


def _load_minilm():
    """Return the preprocessor from texts to MiniLM's inputs, and MiniLM."""
    tokenizer, backbone = pretrained.load()
    return keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=48), backbone


ENCODERS = {"transformer": transformer, "minilm": minilm, "frozen_minilm": frozen_minilm}
