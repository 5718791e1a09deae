"""From texts to token ids, in training and in exports alike."""

from abc import ABC, abstractmethod
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl._keys import TOKEN_IDS
from tf_mtl.text._located import LocatedTexts
from tf_mtl.text._rows import rows
from tf_mtl.text._split import Split, split


class TextPreprocessor(keras.layers.Layer, ABC):
    """From texts [B], or the words of texts [B, None], to the inputs of a text encoder, each int32 [B, length].

    Calling it, on eager tensors or in a graph, gives these inputs by name, padded behind each row. It takes raw texts,
    as an exported model does, or words, as annotated corpora have them; where words are split as `split` would do,
    both give the same. No row depends on the others of its batch. It is the `preprocessor` of
    `tf_mtl.export.saved_model`, and `tf_mtl.text.save` keeps it for later.

    Subclasses give `names`, `vocabulary_size`, `encode` and `word_counts`.

    Args:
        length: The longest sequence of tokens S, special tokens included; what is behind is cut off.
        **kwargs: `name`; see `keras.layers.Layer`.

    Attributes:
        names: The names of the inputs that it gives.

    Raises:
        ValueError: if `length` is not a positive integer.
    """

    names: tuple[str, ...] = (TOKEN_IDS,)

    def __init__(self, length: int, **kwargs):
        super().__init__(**kwargs)
        self.length = integer("length", length, 1)
        self.built = True

    @property
    @abstractmethod
    def vocabulary_size(self) -> int:
        """Number of token ids, for an encoder's embeddings."""

    @abstractmethod
    def encode(self, words: Any) -> dict[str, tf.RaggedTensor]:
        """Return the inputs by name, ragged int32 [B, None] of at most `length` tokens, from words [B, None]."""

    @abstractmethod
    def word_counts(self, encoded: dict[str, tf.RaggedTensor]) -> tf.Tensor:
        """Return how many words of each row `encode` has kept, int64 [B].

        They are the first ones; a word is kept if its first token is.
        """

    def padding(self, name: str) -> int:
        """Return what stands behind a row's end in the input of this name."""
        return 0

    @staticmethod
    def split(texts: Any) -> Split:
        """Return the words of texts [B], and where they are.

        Words are what white space separates, any that Unicode knows. Punctuation marks and symbols (Unicode's
        categories P and S) except @ and # are set apart, one by one, at both ends of such a run; within it they stay:
        "(don't)," has the words ( don't ) and the comma, "3.5" is one word.

        Returns:
            Ragged `words`, and `begins` and `ends`, int32 offsets in bytes into the UTF-8 text; a word is what lies
            between them, byte for byte. Bytes that are not UTF-8 count as symbols.

        Raises:
            TypeError: for anything but strings.
            ValueError: for words, or a tensor of another rank.
        """
        texts = rows("texts", texts)
        if isinstance(texts, tf.RaggedTensor):
            raise ValueError(f"`texts` must be texts [B], received words {texts.shape}, which need no splitting.")
        return split(texts)

    def __call__(self, texts: Any) -> dict[str, tf.Tensor]:
        """Return the inputs by name, int32 [B, length], from texts [B] or ragged words [B, None].

        Raises:
            TypeError: for anything but strings.
            ValueError: for tensors of another rank.
        """
        words = rows("texts", texts)
        encoded = self.encode(words if isinstance(words, tf.RaggedTensor) else split(words).words)
        return {name: self._dense(tokens, self.padding(name)) for name, tokens in encoded.items()}

    def locate(self, texts: Any) -> LocatedTexts:
        """Return texts [B] with the byte offsets [B, length] of the words that the inputs hold; see `split`."""
        found = self.split(texts)
        kept = self.word_counts(self.encode(found.words))[:, None] > tf.range(self.length, dtype=tf.int64)
        begins, ends = (tf.where(kept, self._dense(offsets, 0), 0) for offsets in (found.begins, found.ends))
        return LocatedTexts(rows("texts", texts), begins, ends)

    def inputs(self) -> dict[str, keras.KerasTensor]:
        """Return new symbolic inputs of any length, by name, so that training may use batches as long as they need."""
        return {name: keras.Input((None,), dtype="int32", name=name) for name in self.names}

    def with_length(self, length: int) -> "TextPreprocessor":
        """Return the same preprocessor for sequences of at most `length` tokens."""
        return type(self).from_config({**self.get_config(), "length": length})

    def get_config(self) -> dict:
        """Return the constructor's arguments."""
        return {**super().get_config(), "length": self.length}

    def _dense(self, ragged, padding):
        return ragged.to_tensor(padding, shape=[None, self.length])
