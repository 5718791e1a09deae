"""Whole words as tokens."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._keys import TOKEN_IDS
from tf_mtl.text._base import TextPreprocessor
from tf_mtl.text._rows import batches, words_of
from tf_mtl.text._split import split


@keras.saving.register_keras_serializable("tf_mtl")
class Words(TextPreprocessor):
    """A vocabulary of words: each word is one token.

    It gives `token_ids` alone: 0 is padding, 1 any word that is not in the vocabulary, 2 the vocabulary's first word.
    An export with it needs TensorFlow alone, without TensorFlow Text.

    Args:
        vocabulary: The words.
        length: The most words of a text; what is behind is cut off.
        lowercase: Whether to lower the case of texts (Unicode's rules, not those of one language).
        **kwargs: `name`; see `keras.layers.Layer`.

    Raises:
        TypeError: for words that are not strings.
        ValueError: for an empty vocabulary, a word that is there twice, is empty, or has capitals where `lowercase`
            would lower them; a length below 1.

    Example:

    >>> words = mtl.text.Words.learn(["so it goes", "so be it"], length=5)
    >>> words.vocabulary
    ('it', 'so', 'be', 'goes')
    >>> words(["So it was.", ""])["token_ids"].numpy().tolist()
    [[3, 2, 1, 1, 0], [0, 0, 0, 0, 0]]
    """

    def __init__(self, vocabulary: Sequence[str], length: int, lowercase: bool = True, **kwargs):
        super().__init__(length, **kwargs)
        self.vocabulary = _checked(vocabulary, lowercase)
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
        **kwargs,
    ) -> "Words":
        """Return the preprocessor with the vocabulary of some texts, by falling frequency, then alphabetically.

        Args:
            data: Texts or lists of words: a list or array of them, or a data set whose elements are texts [] or words
                [None].
            length: The most words of a text.
            max_words: The most words of the vocabulary; all by default.
            min_count: How often a word must be there.
            lowercase: Whether to lower the case.
            **kwargs: `name`; see `keras.layers.Layer`.

        Raises:
            TypeError: for data of another form.
            ValueError: if there are no data, or no word is there often enough.
        """
        if max_words is not None and max_words < 1:
            raise ValueError(f"`max_words` must be at least 1, or None for all, received {max_words}.")
        counts = Counter()
        for batch in batches(data):
            words = batch if isinstance(batch, tf.RaggedTensor) else split(batch).words
            counts.update(_standard(words.flat_values, lowercase).numpy().tolist())
        del counts[b""]
        frequent = [word for word, count in counts.items() if count >= min_count]
        if not frequent:
            raise ValueError(f"No word of `data` is there {min_count} times: lower `min_count`, or give more texts.")
        chosen = sorted(frequent, key=lambda word: (-counts[word], word))[:max_words]
        return cls([word.decode() for word in chosen], length, lowercase, **kwargs)

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids: the words, padding and the unknown word."""
        return len(self.vocabulary) + 2

    def encode(self, words: Any) -> dict[str, tf.RaggedTensor]:
        """Return `token_ids`, ragged int32 [B, None], of the first `length` words of each row."""
        kept = words_of(words)[:, : self.length]
        return {TOKEN_IDS: kept.with_flat_values(self._ids.lookup(_standard(kept.flat_values, self.lowercase)))}

    def word_counts(self, encoded: dict[str, tf.RaggedTensor]) -> tf.Tensor:
        """Return how many words of each row were kept, int64 [B]."""
        return encoded[TOKEN_IDS].row_lengths()

    def embeddings(
        self, source: str | Path | Mapping[str, Sequence[float]], dim: int, seed: int = 0
    ) -> tuple[np.ndarray, int]:
        """Return a matrix for `tf_mtl.encoders.RecurrentEncoder(embeddings=...)` from pretrained vectors.

        Args:
            source: A text file with a word and its numbers in each line, as GloVe's (Pennington et al., 2014) and, with
                a first line that tells the sizes, word2vec's; or `{word: vector}`.
            dim: Length D of the vectors.
            seed: Seed of the vectors of other words, which are uniform between -0.05 and 0.05. That of padding is 0.

        Returns:
            The matrix [vocabulary_size, D], float32, and how many of the vocabulary's words have a vector there.

        Raises:
            ValueError: for a vector of another length.

        Example:

        >>> words = mtl.text.Words(["red", "blue"], length=5)
        >>> matrix, found = words.embeddings({"blue": [1.0, 2.0]}, dim=2)
        >>> matrix[3], found
        (array([1., 2.], dtype=float32), 1)
        """
        matrix = np.random.default_rng(seed).uniform(-0.05, 0.05, (self.vocabulary_size, dim)).astype("float32")
        matrix[0] = 0
        places, found = {word: place for place, word in enumerate(self.vocabulary, 2)}, set()
        for word, vector in source.items() if isinstance(source, Mapping) else _vectors(Path(source), dim):
            if word in places:
                if len(vector) != dim:
                    raise ValueError(f"The vector of '{word}' has {len(vector)} numbers, but `dim` is {dim}.")
                matrix[places[word]] = vector
                found.add(word)
        return matrix, len(found)

    def get_config(self) -> dict:
        """Return the constructor's arguments."""
        return {**super().get_config(), "vocabulary": list(self.vocabulary), "lowercase": self.lowercase}


def _standard(words, lowercase):
    """Words as the vocabulary has them, always UTF-8."""
    words = tf.strings.unicode_transcode(words, "UTF-8", "UTF-8")
    return tf.strings.lower(words, "utf-8") if lowercase else words


def _checked(vocabulary: Iterable[str], lowercase) -> tuple[str, ...]:
    if isinstance(vocabulary, str):
        raise TypeError(f"`vocabulary` must be a list of words, received the string {vocabulary!r}.")
    vocabulary = tuple(vocabulary)
    for word in vocabulary:
        if not isinstance(word, str):
            raise TypeError(f"`vocabulary` must hold strings, received {word!r} ({type(word).__name__}).")
    if not vocabulary or "" in vocabulary:
        raise ValueError(
            f"`vocabulary` must hold words, received {'an empty one' if vocabulary else 'none'}. Words.learn finds "
            "those of your texts."
        )
    twice = [word for word, count in Counter(vocabulary).items() if count > 1]
    if twice:
        raise ValueError(f"`vocabulary` must hold each word once, but {twice[:5]} are there twice: remove them.")
    standard = _standard(tf.constant(vocabulary), lowercase).numpy().tolist()
    never = [word for word, found in zip(vocabulary, standard, strict=True) if word.encode() != found]
    if never:
        raise ValueError(
            f"`vocabulary` holds {never[:5]}, which no text has once its case is lowered. Lower them, or pass "
            "lowercase=False."
        )
    return vocabulary


def _vectors(path, dim):
    """Yield words and vectors of a text file; a word may contain blanks."""
    with open(path, encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            word, *vector = line.rstrip().rsplit(" ", dim)
            if len(vector) == dim:
                yield word, vector
            elif number > 1:
                raise ValueError(f"Line {number} of {path} must hold a word and `dim` = {dim} numbers: {line[:60]!r}.")
