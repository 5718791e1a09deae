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
from tf_mtl.text._pairs import SpecialTokens, Tokens, pair_inputs, words_of_segment
from tf_mtl.text._split import split
from tf_mtl.text._strings import string_batches


@keras.saving.register_keras_serializable("tf_mtl")
class Words(TextPreprocessor):
    """A vocabulary of words, in which each word is one token.

    It returns only `token_ids`: 0 is padding, 1 is any word outside the vocabulary, and 2 is the vocabulary's first
    word. An export with it needs only TensorFlow, not TensorFlow Text.

    With `pair`, the last id is the separator between the texts of a pair, and `word_starts` and `segment_ids` are
    returned as well: the separator is not a word, and its segment is that of the first text. See `TextPreprocessor` for
    the other rules.

    Args:
        vocabulary: The words.
        length: The maximum number of words of a text; longer texts are truncated. The separator of a pair counts.
        lowercase: Whether to convert texts to lower case, by the rules of Unicode, not of one language.
        pair: The names of the first and the second text, such as `("question", "sentence")`; None for single texts.
        **kwargs: `name`; see `keras.layers.Layer`.

    Raises:
        TypeError: for words that are not strings.
        ValueError: for an empty vocabulary, words that are repeated or empty, words with capitals if `lowercase`, a
            length below 1 (3 with `pair`), or if `pair` is not two names.

    Example:

    >>> words = mtl.text.Words.learn(["so it goes", "so be it"], length=5)
    >>> words.vocabulary
    ('it', 'so', 'be', 'goes')
    >>> words(["So it was.", ""])["token_ids"].numpy().tolist()
    [[3, 2, 1, 1, 0], [0, 0, 0, 0, 0]]

    Pairs of texts, with the separator 6:

    >>> pairs = mtl.text.Words(words.vocabulary, length=5, pair=("question", "sentence"))
    >>> for name, row in pairs({"question": ["So it was."], "sentence": ["so be it"]}).items():
    ...     print(name, row.numpy().tolist())
    token_ids [[3, 2, 6, 3, 4]]
    word_starts [[1, 1, 0, 1, 1]]
    segment_ids [[0, 0, 0, 1, 1]]
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        length: int,
        lowercase: bool = True,
        pair: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(length, pair, **kwargs)
        if self.pair is not None and length < 3:
            raise ValueError(f"`length` must leave room for two words and a separator with `pair`, received {length}.")
        self.vocabulary = _checked_vocabulary(vocabulary, lowercase)
        self.lowercase = lowercase
        ids = tf.range(2, len(self.vocabulary) + 2)
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
        pair: Sequence[str] | None = None,
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
            pair: The names of the first and the second text; None for single texts.
            **kwargs: `name`; see `keras.layers.Layer`.

        Raises:
            TypeError: for data of another form.
            ValueError: for data without texts, if no word occurs often enough, or if `pair` is not two names.
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
        return cls([word.decode() for word in vocabulary], length, lowercase, pair, **kwargs)

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids: those of the words, of padding, of unknown words and, for pairs, of the separator."""
        return len(self.vocabulary) + (2 if self.pair is None else 3)

    def encode(self, words: Any, second: Any = None) -> dict[str, tf.RaggedTensor]:
        """Return the inputs of words [B, None] by name, ragged int32 [B, None].

        Args:
            words: The words.
            second: The words of the second texts, if the rows are pairs.
        """
        first, second = self._both_words(words, second)
        if self.pair is None:
            return {TOKEN_IDS: self._token_ids(first)}
        separator = SpecialTokens((), (self.vocabulary_size - 1,), ())
        return pair_inputs(first, second, self._tokens, separator, self.length)

    def tokens(self, token_ids: Any) -> np.ndarray:
        """Return token ids [B, S] as words; "" for padding, "[UNK]" for unknown words, "[SEP]" for the separator."""
        return np.array(["", "[UNK]", *self.vocabulary, "[SEP]"])[np.asarray(token_ids)]

    def word_counts(self, encoded: dict[str, tf.RaggedTensor], segment: int = 0) -> tf.Tensor:
        """Return the number of words of each row that were kept, int64 [B].

        Args:
            encoded: What `encode` returned.
            segment: Whose words to count in pairs: 0 for the first text, 1 for the second.
        """
        return encoded[TOKEN_IDS].row_lengths() if self.pair is None else words_of_segment(encoded, segment)

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

    def _token_ids(self, words: tf.RaggedTensor) -> tf.RaggedTensor:
        first_words = words[:, : self.length]
        return first_words.with_flat_values(self._ids.lookup(_normalized(first_words.flat_values, self.lowercase)))

    def _tokens(self, words: tf.RaggedTensor) -> Tokens:
        ids = self._token_ids(words)
        return Tokens(ids, tf.ones_like(ids))


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
