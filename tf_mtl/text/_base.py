"""What turns texts into token ids, the same way in training and in exports."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl._keys import SEGMENT_IDS, TOKEN_IDS, WORD_STARTS
from tf_mtl.text._located import LocatedTexts
from tf_mtl.text._pairs import pair_names
from tf_mtl.text._split import Split, split
from tf_mtl.text._strings import to_ragged_words, to_strings


class TextPreprocessor(keras.layers.Layer, ABC):
    """Turns texts [B], or the words of texts [B, None], into the inputs of a text encoder, each int32 [B, length].

    Calling it, eagerly or in a graph, returns these inputs by name, padded after the end of each row. It takes raw
    texts, like an exported model, or words, as in annotated corpora; if the words are those of `split`, the results are
    the same. No row depends on other rows of its batch. Pass it as the `preprocessor` of `tf_mtl.export.saved_model`,
    and save it with `tf_mtl.text.save`.

    With `pair`, it also takes pairs of texts, `{"question": texts, "sentence": texts}`, as one sequence per row. Of
    pairs that are too long, the longer text is truncated first, token by token; of two of the same length, the second.
    The inputs then include `segment_ids`, 1 in the second text, and `word_starts`, 1 at each word's first token. A pair
    whose second text is empty gives the same row as the first text alone. Texts that are not in a dict have no second
    text. Words and their positions, as in `locate`, are those of the first text.

    Subclasses define `names`, `vocabulary_size`, `encode` and `word_counts`.

    Args:
        length: The longest sequence of tokens S, special tokens included; longer inputs are truncated.
        pair: The names of the first and the second text, such as `("question", "sentence")`, which are also the names
            of an export's raw inputs; None for single texts, named `text`.
        **kwargs: `name`; see `keras.layers.Layer`.

    Attributes:
        names: The names of the encoder's inputs that it returns.

    Raises:
        ValueError: if `length` is not a positive integer, or `pair` is not two names.
    """

    names: tuple[str, ...] = (TOKEN_IDS,)

    def __init__(self, length: int, pair: Sequence[str] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.length = integer("length", length, 1)
        self.pair = pair_names(pair)
        if self.pair is not None:
            self.names = tuple(dict.fromkeys((*self.names, WORD_STARTS, SEGMENT_IDS)))
        self.built = True

    @property
    @abstractmethod
    def vocabulary_size(self) -> int:
        """Number of token ids, for an encoder's embeddings."""

    @property
    def input_signature(self) -> tuple[Any]:
        """The named spec of the texts, or a dict of the specs of both texts, as that of a `tf.function`."""
        specs = {name: tf.TensorSpec([None], tf.string, name=name) for name in self.pair or ("text",)}
        return (specs["text"] if self.pair is None else specs,)

    @abstractmethod
    def encode(self, words: Any, second: Any = None) -> dict[str, tf.RaggedTensor]:
        """Return the inputs of words [B, None] by name, ragged int32 [B, None] with at most `length` tokens per row.

        Args:
            words: The words.
            second: The words of the second texts, if the rows are pairs.
        """

    @abstractmethod
    def word_counts(self, encoded: dict[str, tf.RaggedTensor], segment: int = 0) -> tf.Tensor:
        """Return the number of words of each row that `encode` kept, int64 [B].

        These are the first words; a word is kept if its first token is kept.

        Args:
            encoded: What `encode` returned.
            segment: Whose words to count in pairs: 0 for the first text, 1 for the second.
        """

    def padding(self, name: str) -> int:
        """Return the value after the end of a row in the input of this name."""
        return 0

    def tokens(self, token_ids: Any) -> np.ndarray:
        """Return token ids [B, S] as strings, for people to read; by default the numbers."""
        return np.asarray(token_ids).astype(str)

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

        Args:
            texts: The texts; for pairs, a dict of the first and the second texts.

        Raises:
            TypeError: for anything but strings.
            ValueError: for tensors of another rank, or a dict that does not hold both texts of each row.
        """
        encoded = self.encode(*map(_words, self._strings(texts)))
        return {name: self._dense(tokens, self.padding(name)) for name, tokens in encoded.items()}

    def locate(self, texts: Any) -> LocatedTexts:
        """Return texts [B] with the byte offsets [B, length] of the words in the inputs; see `split`.

        Args:
            texts: The texts; for pairs, a dict of the first and the second texts. The first are located.
        """
        first, *second = self._strings(texts)
        words, begins, ends = self.split(first)
        word_counts = self.word_counts(self.encode(words, *map(_words, second)))
        is_word = word_counts[:, None] > tf.range(self.length, dtype=tf.int64)
        begins, ends = (tf.where(is_word, self._dense(offsets, 0), 0) for offsets in (begins, ends))
        return LocatedTexts(first, begins, ends)

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
        return {**super().get_config(), "length": self.length, "pair": None if self.pair is None else list(self.pair)}

    def _both_words(self, words: Any, second: Any) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Return the words of the first and the second texts; without second texts, these have no words."""
        first = to_ragged_words(words)
        if second is None:
            return first, first[:, :0]
        if self.pair is None:
            raise ValueError(
                '`second` is the text of a pair. Create the preprocessor with `pair`, for example pair=("question", '
                '"sentence").'
            )
        return first, to_ragged_words(second)

    def _strings(self, texts: Any) -> tuple[tf.Tensor | tf.RaggedTensor, ...]:
        """Return the texts or words of each row, or those of the first and the second text of pairs."""
        if not isinstance(texts, Mapping):
            return (to_strings("texts", texts),)
        if self.pair is None:
            raise ValueError(
                f"`texts` must be a list of texts, received a dict with the keys {sorted(texts)}. To take pairs of "
                'texts, create the preprocessor with `pair`, for example pair=("question", "sentence").'
            )
        if set(texts) != set(self.pair):
            raise ValueError(
                f"`texts` must be a dict with the keys {list(self.pair)}, as `pair` names them, received the keys "
                f"{sorted(texts)}."
            )
        first, second = (to_strings(f"texts['{name}']", texts[name]) for name in self.pair)
        if not first.shape[:1].is_compatible_with(second.shape[:1]):
            raise ValueError(
                f"`texts` must have as many texts '{self.pair[0]}' as '{self.pair[1]}', received {first.shape[0]} and "
                f'{second.shape[0]}. Use "" for a missing second text.'
            )
        return first, second

    def _dense(self, ragged: tf.RaggedTensor, padding: int) -> tf.Tensor:
        return ragged.to_tensor(padding, shape=[None, self.length])


def _words(strings: tf.Tensor | tf.RaggedTensor) -> tf.RaggedTensor:
    return strings if isinstance(strings, tf.RaggedTensor) else split(strings).words
