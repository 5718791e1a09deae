"""Whole words as tokens."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl._keys import TOKEN_IDS
from tf_mtl.text._base import TextPreprocessor
from tf_mtl.text._split import split
from tf_mtl.text._strings import string_batches, to_ragged_words


@keras.saving.register_keras_serializable("tf_mtl")
class Words(TextPreprocessor):
    """A vocabulary of words, in which each word is one token.

    It returns only `token_ids`: 0 is padding, 1 is any word outside the vocabulary, and 2 is the vocabulary's first
    word. An export with it needs only TensorFlow, not TensorFlow Text.

    Args:
        vocabulary: The words.
        length: The maximum number of words of a text; longer texts are truncated.
        lowercase: Whether to convert texts to lower case, by the rules of Unicode, not of one language.
        **kwargs: `name`; see `keras.layers.Layer`.

    Raises:
        TypeError: for words that are not strings.
        ValueError: for an empty vocabulary, words that are repeated or empty, words with capitals if `lowercase`, and a
            length below 1.

    Example:

    >>> words = mtl.text.Words.learn(["so it goes", "so be it"], length=5)
    >>> words.vocabulary
    ('it', 'so', 'be', 'goes')
    >>> words(["So it was.", ""])["token_ids"].numpy().tolist()
    [[3, 2, 1, 1, 0], [0, 0, 0, 0, 0]]
    """

    def __init__(self, vocabulary: Sequence[str], length: int, lowercase: bool = True, **kwargs: Any):
        super().__init__(length, **kwargs)
        self.vocabulary = _checked_vocabulary(vocabulary, lowercase)
        self.lowercase = lowercase
        ids = tf.range(2, self.vocabulary_size)
        self._ids = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(tf.constant(self.vocabulary), ids), default_value=1
        )

    @classmethod
    def learn(
        cls,
        data: Any,
        length: int,
        max_words: int | None = None,
        min_count: int = 1,
        lowercase: bool = True,
        **kwargs: Any,
    ) -> "Words":
        """Return a preprocessor with the vocabulary of texts, most frequent words first, then in alphabetical order.

        Args:
            data: Texts or lists of words: a list or array of them, or a data set whose elements are texts [] or words
                [None].
            length: The maximum number of words of a text.
            max_words: The maximum number of words of the vocabulary; all by default.
            min_count: How often a word must occur.
            lowercase: Whether to convert texts to lower case.
            **kwargs: `name`; see `keras.layers.Layer`.

        Raises:
            TypeError: for data of another form.
            ValueError: for data without texts, or if no word occurs often enough.
        """
        max_words = integer("max_words", max_words, 1, none=True)
        frequencies: Counter[bytes] = Counter()
        for batch in string_batches(data):
            words = batch if isinstance(batch, tf.RaggedTensor) else split(batch).words
            frequencies.update(_normalized(words.flat_values, lowercase).numpy().tolist())
        del frequencies[b""]
        frequent = [word for word, frequency in frequencies.items() if frequency >= min_count]
        if not frequent:
            raise ValueError(f"No word of `data` occurs {min_count} times. Lower `min_count`, or pass more texts.")
        vocabulary = sorted(frequent, key=lambda word: (-frequencies[word], word))[:max_words]
        return cls([word.decode() for word in vocabulary], length, lowercase, **kwargs)

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids: those of the words, of padding and of unknown words."""
        return len(self.vocabulary) + 2

    def encode(self, words: Any) -> dict[str, tf.RaggedTensor]:
        """Return `token_ids`, ragged int32 [B, None], of the first `length` words of each row."""
        first_words = to_ragged_words(words)[:, : self.length]
        ids = self._ids.lookup(_normalized(first_words.flat_values, self.lowercase))
        return {TOKEN_IDS: first_words.with_flat_values(ids)}

    def word_counts(self, encoded: dict[str, tf.RaggedTensor]) -> tf.Tensor:
        """Return the number of words of each row that were kept, int64 [B]."""
        return encoded[TOKEN_IDS].row_lengths()

    def embeddings(
        self, source: str | Path | Mapping[str, Sequence[float]], dim: int, seed: int = 0
    ) -> tuple[np.ndarray, int]:
        """Return a matrix for `tf_mtl.encoders.RecurrentEncoder(embeddings=...)` from pretrained vectors.

        Args:
            source: A text file with a word and its numbers per line, such as GloVe's (Pennington et al., 2014) and,
                with the sizes in its first line, word2vec's; or `{word: vector}`.
            dim: Length D of the vectors.
            seed: Seed of the vectors of other words, which are uniform between -0.05 and 0.05. The vector of padding
                is 0.

        Returns:
            The matrix [vocabulary_size, D], float32, and the number of words of the vocabulary that have a vector.

        Raises:
            ValueError: for a vector of another length.

        Example:

        >>> words = mtl.text.Words(["red", "blue"], length=5)
        >>> matrix, covered = words.embeddings({"blue": [1.0, 2.0]}, dim=2)
        >>> matrix[3], covered
        (array([1., 2.], dtype=float32), 1)
        """
        matrix = np.random.default_rng(seed).uniform(-0.05, 0.05, (self.vocabulary_size, dim)).astype("float32")
        matrix[0] = 0
        id_of_word = {word: token_id for token_id, word in enumerate(self.vocabulary, 2)}
        covered = set()
        for word, vector in source.items() if isinstance(source, Mapping) else _read_vectors(Path(source), dim):
            if word in id_of_word:
                if len(vector) != dim:
                    raise ValueError(f"The vector of '{word}' has {len(vector)} numbers, but `dim` is {dim}.")
                matrix[id_of_word[word]] = vector
                covered.add(word)
        return matrix, len(covered)

    def get_config(self) -> dict:
        """Return the constructor's arguments."""
        return {**super().get_config(), "vocabulary": list(self.vocabulary), "lowercase": self.lowercase}


def _normalized(words: tf.Tensor, lowercase: bool) -> tf.Tensor:
    """Return words in the form of the vocabulary, always valid UTF-8."""
    words = tf.strings.unicode_transcode(words, "UTF-8", "UTF-8")
    return tf.strings.lower(words, "utf-8") if lowercase else words


def _checked_vocabulary(vocabulary: Iterable[str], lowercase: bool) -> tuple[str, ...]:
    if isinstance(vocabulary, str):
        raise TypeError(f"`vocabulary` must be a list of words, received the string {vocabulary!r}.")
    vocabulary = tuple(vocabulary)
    for word in vocabulary:
        if not isinstance(word, str):
            raise TypeError(f"`vocabulary` must hold strings, received {word!r} ({type(word).__name__}).")
    if not vocabulary or "" in vocabulary:
        raise ValueError(
            f"`vocabulary` must hold non-empty words, received {'an empty word' if vocabulary else 'no word'}. "
            "Words.learn collects the words of your texts."
        )
    repeated = [word for word, number in Counter(vocabulary).items() if number > 1]
    if repeated:
        raise ValueError(
            f"`vocabulary` must hold each word once, received {repeated[:5]} repeatedly. Remove duplicates."
        )
    normalized = _normalized(tf.constant(vocabulary), lowercase).numpy().tolist()
    unreachable = [word for word, form in zip(vocabulary, normalized, strict=True) if word.encode() != form]
    if unreachable:
        raise ValueError(
            f"`vocabulary` must be in lower case, as texts are converted to it, received {unreachable[:5]}. Convert "
            "the words to lower case, or pass lowercase=False."
        )
    return vocabulary


def _read_vectors(path: Path, dim: int) -> Iterator[tuple[str, list[str]]]:
    """Yield (word, numbers) from a text file; a word may contain blanks."""
    with open(path, encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            word, *vector = line.rstrip().rsplit(" ", dim)
            if len(vector) == dim:
                yield word, vector
            elif number > 1:
                raise ValueError(
                    f"{path}, line {number} must hold a word and `dim` = {dim} numbers, received {line[:60]!r}. Fix "
                    "the line, or pass another `dim`."
                )
