"""What turns texts into token ids, the same way in training and in exports."""

from abc import ABC, abstractmethod
from typing import Any, Self

import keras
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl._keys import TOKEN_IDS
from tf_mtl.text._located import LocatedTexts
from tf_mtl.text._split import Split, split
from tf_mtl.text._strings import to_strings


class TextPreprocessor(keras.layers.Layer, ABC):
    """Turns texts [B], or the words of texts [B, None], into the inputs of a text encoder, each int32 [B, length].

    Calling it, eagerly or in a graph, returns these inputs by name, padded after the end of each row. It takes raw
    texts, like an exported model, or words, as in annotated corpora; if the words are those of `split`, the results are
    the same. No row depends on other rows of its batch. Pass it as the `preprocessor` of `tf_mtl.export.saved_model`,
    and save it with `tf_mtl.text.save`.

    Subclasses define `names`, `vocabulary_size`, `encode` and `word_counts`.

    Args:
        length: The longest sequence of tokens S, special tokens included; longer inputs are truncated.
        **kwargs: `name`; see `keras.layers.Layer`.

    Attributes:
        names: The names of the encoder's inputs that it returns.

    Raises:
        ValueError: if `length` is not a positive integer.
    """

    names: tuple[str, ...] = (TOKEN_IDS,)

    def __init__(self, length: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.length = integer("length", length, 1)
        self.built = True

    @property
    @abstractmethod
    def vocabulary_size(self) -> int:
        """Number of token ids, for an encoder's embeddings."""

    @abstractmethod
    def encode(self, words: Any) -> dict[str, tf.RaggedTensor]:
        """Return the inputs of words [B, None] by name, ragged int32 [B, None] with at most `length` tokens per row."""

    @abstractmethod
    def word_counts(self, encoded: dict[str, tf.RaggedTensor]) -> tf.Tensor:
        """Return the number of words of each row that `encode` kept, int64 [B].

        These are the first words; a word is kept if its first token is kept.
        """

    def padding(self, name: str) -> int:
        """Return the value after the end of a row in the input of this name."""
        return 0

    @staticmethod
    def split(texts: Any) -> Split:
        """Return the words of texts [B] and their positions.

        Texts are first split at Unicode white space. Then each punctuation mark or symbol (Unicode categories P and S)
        except @ and # becomes a word of its own at both ends of such a run, but not within it: "(don't)," has the words
        ( don't ) and the comma, and "3.5" is one word.

        Returns:
            Ragged `words`, and `begins` and `ends`, int32 byte offsets into the UTF-8 text; a word is exactly the bytes
            between them. Bytes that are not UTF-8 count as symbols.

        Raises:
            TypeError: for anything but strings.
            ValueError: for words, or a tensor of another rank.
        """
        texts = to_strings("texts", texts)
        if isinstance(texts, tf.RaggedTensor):
            raise ValueError(f"`texts` must be texts [B], received words {texts.shape}. Words need no splitting.")
        return split(texts)

    def __call__(self, texts: Any) -> dict[str, tf.Tensor]:
        """Return the inputs of texts [B] or ragged words [B, None] by name, each int32 [B, length].

        Raises:
            TypeError: for anything but strings.
            ValueError: for tensors of another rank.
        """
        strings = to_strings("texts", texts)
        encoded = self.encode(strings if isinstance(strings, tf.RaggedTensor) else split(strings).words)
        return {name: self._dense(tokens, self.padding(name)) for name, tokens in encoded.items()}

    def locate(self, texts: Any) -> LocatedTexts:
        """Return texts [B] with the byte offsets [B, length] of the words in the inputs; see `split`."""
        words, begins, ends = self.split(texts)
        is_word = self.word_counts(self.encode(words))[:, None] > tf.range(self.length, dtype=tf.int64)
        begins, ends = (tf.where(is_word, self._dense(offsets, 0), 0) for offsets in (begins, ends))
        return LocatedTexts(to_strings("texts", texts), begins, ends)

    def inputs(self) -> dict[str, keras.KerasTensor]:
        """Return new symbolic inputs by name, of any length, so that batches can be as long as their longest row."""
        return {name: keras.Input((None,), dtype="int32", name=name) for name in self.names}

    def with_length(self, length: int) -> Self:
        """Return the same preprocessor, with its vocabulary and settings, for sequences of another length.

        A model built from `inputs` takes sequences of any length, so it can be exported with another length than the
        one that it was trained with.

        Args:
            length: The longest sequence of tokens, special tokens included.

        Raises:
            ValueError: if `length` is not a positive integer, or leaves no room for a word.

        Example:

        >>> words = mtl.text.Words(["so", "it", "goes"], length=2)
        >>> longer = words.with_length(4)
        >>> words(["so it goes"])["token_ids"].numpy().tolist(), longer(["so it goes"])["token_ids"].numpy().tolist()
        ([[2, 3]], [[2, 3, 4, 0]])
        """
        length = integer("length", length, 1)  # before Keras, which would raise a TypeError
        return self.from_config({**self.get_config(), "length": length})

    def get_config(self) -> dict:
        """Return the constructor's arguments."""
        return {**super().get_config(), "length": self.length}

    def _dense(self, ragged: tf.RaggedTensor, padding: int) -> tf.Tensor:
        return ragged.to_tensor(padding, shape=[None, self.length])
