"""Pairs of texts as two sequences."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.text._base import TextPreprocessor


@keras.saving.register_keras_serializable("tf_mtl")
class TwoTexts(TextPreprocessor):
    """Pairs of texts as two sequences, each for a tower of its own, such as a query and a document.

    The inputs of the first text have the names that the given preprocessor returns after the text's own,
    `query_token_ids`, and so have those of the second, `document_token_ids`. `tf_mtl.encoders.Towers` gives each to its
    encoder. For one sequence of both texts, use a preprocessor with `pair`.

    Args:
        preprocessor: What encodes single texts, such as `tf_mtl.text.Words`.
        pair: The names of the first and the second text.
        length: The longest sequence of tokens; that of the preprocessor by default.
        **kwargs: `name`; see `keras.layers.Layer`.

    Raises:
        ValueError: if the preprocessor takes pairs itself, or `pair` is not two names.

    Example:

    >>> texts = mtl.text.TwoTexts(mtl.text.Words(["so", "it", "goes"], length=3), pair=("query", "document"))
    >>> for name, row in texts({"query": ["so"], "document": ["it goes"]}).items():
    ...     print(name, row.numpy().tolist())
    query_token_ids [[2, 0, 0]]
    document_token_ids [[3, 4, 0]]
    """

    def __init__(self, preprocessor: TextPreprocessor, pair: Sequence[str], length: int | None = None, **kwargs: Any):
        if preprocessor.pair is not None:
            raise ValueError(
                f"`preprocessor` must encode single texts, received one with pair={preprocessor.pair}. Create it "
                "without `pair`."
            )
        super().__init__(preprocessor.length if length is None else length, pair, **kwargs)
        same = preprocessor.length == self.length
        self.preprocessor = preprocessor if same else preprocessor.with_length(self.length)
        self.names = tuple(self._key(text, name) for text in (0, 1) for name in preprocessor.names)

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids."""
        return self.preprocessor.vocabulary_size

    def encode(self, words: Any, second: Any = None) -> dict[str, tf.RaggedTensor]:
        """Return the inputs of words [B, None] by name, ragged int32 [B, None].

        Args:
            words: The words of the first texts.
            second: The words of the second texts; none by default.
        """
        encoded = map(self.preprocessor.encode, self._both_words(words, second))
        return {self._key(text, name): ids for text, part in enumerate(encoded) for name, ids in part.items()}

    def word_counts(self, encoded: dict[str, tf.RaggedTensor], segment: int = 0) -> tf.Tensor:
        """Return the number of words of each row that `encode` kept, int64 [B].

        Args:
            encoded: What `encode` returned.
            segment: Whose words to count: 0 for the first text, 1 for the second.
        """
        of_text = {name: encoded[self._key(segment, name)] for name in self.preprocessor.names}
        return self.preprocessor.word_counts(of_text)

    def padding(self, name: str) -> int:
        """Return the value after the end of a row in the input of this name."""
        return self.preprocessor.padding(self.preprocessor.names[self.names.index(name) % len(self.preprocessor.names)])

    def get_config(self) -> dict:
        """Return the constructor's arguments."""
        return {**super().get_config(), "preprocessor": keras.saving.serialize_keras_object(self.preprocessor)}

    @classmethod
    def from_config(cls, config: dict) -> "TwoTexts":
        """Return a preprocessor from `get_config`'s dict."""
        return cls(**{**config, "preprocessor": keras.saving.deserialize_keras_object(config["preprocessor"])})

    def _key(self, text: int, name: str) -> str:
        return f"{(self.pair or ())[text]}_{name}"
