"""The text encoders of several recipes: from texts, or pairs of them, to features of each word and of the whole."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import capitals
import keras
import minilm as pretrained

import tf_mtl as mtl

LENGTH = 256  # the longest sentence by default; batches are as long as they need


@dataclass(frozen=True)
class TextEncoder:
    """How texts become features.

    Attributes:
        preprocessor: From texts or words to the model's inputs.
        encoder: From these to features.
    """

    preprocessor: mtl.text.TextPreprocessor
    encoder: keras.layers.Layer


def bilstm(sentences: Iterable, length: int = LENGTH, pair: Sequence[str] | None = None) -> TextEncoder:
    """Return a bidirectional LSTM over the words of some sentences, to be trained from scratch."""
    words = mtl.text.Words.learn(sentences, length, min_count=2, pair=pair)
    return TextEncoder(words, mtl.encoders.RecurrentEncoder(words.vocabulary_size, dim=128, units=128, dropout=0.5))


def bilstm_subwords(sentences: Iterable, length: int = LENGTH, pair: Sequence[str] | None = None) -> TextEncoder:
    """Return the same over sub-words so short that words which are not in these sentences consist of them too."""
    subwords = mtl.text.Subwords.learn(sentences, length, vocabulary_size=600, pair=pair)
    return TextEncoder(
        subwords, mtl.encoders.RecurrentEncoder(subwords.vocabulary_size, dim=128, units=128, dropout=0.5)
    )


def transformer(sentences: Iterable, length: int = LENGTH, pair: Sequence[str] | None = None) -> TextEncoder:
    """Return a small Transformer over sub-words learnt from some sentences, to be trained from scratch."""
    subwords = mtl.text.Subwords.learn(sentences, length, vocabulary_size=8_000, pair=pair)
    encoder = mtl.encoders.TransformerEncoder(
        subwords.vocabulary_size, length, dim=128, layers=2, heads=4, feedforward_dim=256, dropout=0.3
    )
    return TextEncoder(subwords, encoder)


def minilm(sentences: Iterable, length: int = LENGTH, pair: Sequence[str] | None = None) -> TextEncoder:
    """Return MiniLM, all of which is fine-tuned."""
    tokenizer, backbone = pretrained.load()
    subwords = mtl.text.Subwords(tokenizer, length, pair)
    return TextEncoder(subwords, mtl.encoders.BackboneEncoder(backbone, name="minilm"))


def minilm_capitals(sentences: Iterable) -> TextEncoder:
    """Return MiniLM, all of which is fine-tuned, which learns what capital letters mean."""
    text = minilm(sentences)
    capitals.forget_segments(text.encoder.backbone)
    return TextEncoder(capitals.CapitalizedSubwords(text.preprocessor), capitals.BertWithCapitals(text.encoder))


ENCODERS = {
    "bilstm": bilstm,
    "bilstm_subwords": bilstm_subwords,
    "transformer": transformer,
    "minilm": minilm,
    "minilm_capitals": minilm_capitals,
}
