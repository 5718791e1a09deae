"""Sub-words as tokens, from the tokenizers of keras-hub."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._keys import PADDING_MASK, TOKEN_IDS, WORD_STARTS
from tf_mtl.text import _tokenizers
from tf_mtl.text._base import TextPreprocessor
from tf_mtl.text._pairs import SpecialTokens, Tokens, pair_inputs, words_of_segment
from tf_mtl.text._strings import string_batches


@keras.saving.register_keras_serializable("tf_mtl")
class Subwords(TextPreprocessor):
    """A keras-hub tokenizer, applied to each word separately, so that each sub-word belongs to one word.

    It returns, each int32 [B, length]: `token_ids`, between the tokenizer's start and end token if it has them, and
    padded with its padding token or 0; `padding_mask`, 1 at each token; and `word_starts`, 1 at each word's first
    sub-word, 0 elsewhere. A word without sub-words, such as a control character, becomes the unknown token, so every
    word within the length has a start. The last word may be truncated; the end token is always kept.

    A byte-pair tokenizer distinguishes words that follow a blank. Here all words but the first follow one, even
    brackets and full stops, in training and serving alike, because the words of a corpus do not show what was between
    them. With `add_prefix_space=True` of the tokenizer, the first word follows a blank too. A SentencePiece tokenizer
    treats every word as if it followed a blank. Set seeds before creating it: `keras.utils.set_random_seed` unloads its
    model.

    With `pair`, rows are arranged as keras-hub's text classifiers do it: `[CLS] first [SEP] second [SEP]` for BERT,
    `<s> first </s></s> second </s>` for RoBERTa, BART and XLM-RoBERTa. See `TextPreprocessor` for the other rules.

    Args:
        tokenizer: A keras-hub tokenizer that returns ragged integers: `BertTokenizer`, `WordPieceTokenizer`,
            `RobertaTokenizer`, `AlbertTokenizer`, ...
        length: The longest sequence of tokens, start and end tokens included; longer inputs are truncated.
        pair: The names of the first and the second text, such as `("question", "sentence")`; None for single texts.
        **kwargs: `name`; see `keras.layers.Layer`.

    Raises:
        TypeError: if `tokenizer` is not a tokenizer.
        ValueError: if it returns anything but ragged integers or has no token for unknown words, if the length leaves
            no room for a word (of each text of a pair), or if `pair` is not two names or the tokenizer has no end token
            to separate them.

    Example:

    >>> import keras_hub
    >>> vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "so", "it", "go", "##es"]
    >>> subwords = mtl.text.Subwords(keras_hub.tokenizers.BertTokenizer(vocabulary, lowercase=True), length=8)
    >>> for name, row in subwords(["So it goes!"]).items():
    ...     print(name, row.numpy().tolist())
    token_ids [[2, 5, 6, 7, 8, 1, 3, 0]]
    padding_mask [[1, 1, 1, 1, 1, 1, 1, 0]]
    word_starts [[0, 1, 1, 1, 0, 1, 0, 0]]

    Pairs of texts:

    >>> pairs = mtl.text.Subwords(subwords.tokenizer, length=8, pair=("question", "sentence"))
    >>> for name, row in pairs({"question": ["it goes"], "sentence": ["so it goes"]}).items():
    ...     print(name, row.numpy().tolist())
    token_ids [[2, 6, 7, 8, 3, 5, 6, 3]]
    padding_mask [[1, 1, 1, 1, 1, 1, 1, 1]]
    word_starts [[0, 1, 1, 0, 0, 1, 1, 0]]
    segment_ids [[0, 0, 0, 0, 0, 1, 1, 1]]
    """

    names = (TOKEN_IDS, PADDING_MASK, WORD_STARTS)

    def __init__(self, tokenizer: Any, length: int, pair: Sequence[str] | None = None, **kwargs: Any):
        super().__init__(length, pair, **kwargs)
        _tokenizers.check_tokenizer(tokenizer)
        self.tokenizer = tokenizer
        self._start = _tokenizers.special_id(tokenizer, "start", "cls")
        self._end = _tokenizers.special_id(tokenizer, "end", "sep")
        self._padding = _tokenizers.special_id(tokenizer, "pad") or 0
        self._unknown = _tokenizers.unknown_id(tokenizer)
        self._adds_blanks = _tokenizers.needs_blanks(tokenizer)
        special_tokens = (self._start is not None) + (self._end is not None)
        self._max_subwords = length - special_tokens
        if self._max_subwords < 1:
            raise ValueError(
                f"`length` must leave room for a word beside the start and end tokens, received {length}. Use at least "
                f"{special_tokens + 1}."
            )
        if self.pair is not None:
            self._special = self._special_tokens_of_pairs()

    @classmethod
    def learn(
        cls,
        data: Any,
        length: int,
        vocabulary_size: int,
        lowercase: bool = True,
        pair: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> "Subwords":
        """Return a preprocessor with a WordPiece vocabulary learnt from texts.

        Its tokenizer is a `keras_hub.tokenizers.WordPieceTokenizer` without start and end tokens, in which "[PAD]" is 0
        and "[UNK]" is 1 (Schuster & Nakajima, "Japanese and Korean voice search", ICASSP 2012; Devlin et al., "BERT",
        2019). With `pair`, it is a `keras_hub.tokenizers.BertTokenizer`, which also has "[CLS]", "[SEP]" and "[MASK]".

        Args:
            data: Texts or lists of words: a list or array of them, or a data set whose elements are texts [] or words
                [None].
            length: The longest sequence of tokens.
            vocabulary_size: The maximum number of tokens.
            lowercase: Whether to convert texts to lower case.
            pair: The names of the first and the second text; None for single texts.
            **kwargs: `name`; see `keras.layers.Layer`.

        Raises:
            TypeError: for data of another form.
            ValueError: for data without texts, or if `pair` is not two names.
        """
        import keras_hub

        tokenizers = keras_hub.tokenizers
        reserved, tokenizer_class = ["[PAD]", "[UNK]"], tokenizers.WordPieceTokenizer
        if pair is not None:
            reserved, tokenizer_class = [*reserved, "[CLS]", "[SEP]", "[MASK]"], tokenizers.BertTokenizer
        texts = [_joined(batch) for batch in string_batches(data)]
        vocabulary = tokenizers.compute_word_piece_vocabulary(
            tf.data.Dataset.from_tensor_slices(tf.concat(texts, 0)).batch(1024),
            vocabulary_size,
            lowercase=lowercase,
            reserved_tokens=reserved,
        )
        return cls(tokenizer_class(vocabulary, lowercase=lowercase), length, pair, **kwargs)

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids."""
        return self.tokenizer.vocabulary_size()

    def padding(self, name: str) -> int:
        """Return the tokenizer's padding token for `token_ids`, otherwise 0."""
        return self._padding if name == TOKEN_IDS else 0

    def encode(self, words: Any, second: Any = None) -> dict[str, tf.RaggedTensor]:
        """Return the inputs of words [B, None] by name, ragged int32 [B, None].

        Args:
            words: The words.
            second: The words of the second texts, if the rows are pairs.
        """
        first, second = self._both_words(words, second)
        if self.pair is not None:
            inputs = pair_inputs(first, second, self._tokens, self._special, self.length)
        else:
            ids, starts = self._tokens(first)
            inputs = {
                TOKEN_IDS: self._enclosed(ids, self._start, self._end),
                WORD_STARTS: self._enclosed(starts, 0, 0),
            }
        inputs[PADDING_MASK] = tf.ones_like(inputs[TOKEN_IDS])
        return {name: inputs[name] for name in self.names}

    def tokens(self, token_ids: Any) -> np.ndarray:
        """Return token ids [B, S] as the tokenizer writes them."""
        token_ids = np.asarray(token_ids)
        return np.array([[self.tokenizer.id_to_token(int(each)) for each in row] for row in token_ids], str)

    def word_counts(self, encoded: dict[str, tf.RaggedTensor], segment: int = 0) -> tf.Tensor:
        """Return the number of words of each row that were kept, int64 [B].

        Args:
            encoded: What `encode` returned.
            segment: Whose words to count in pairs: 0 for the first text, 1 for the second.
        """
        if self.pair is not None:
            return words_of_segment(encoded, segment)
        return tf.cast(tf.reduce_sum(encoded[WORD_STARTS], axis=1), tf.int64)

    def get_config(self) -> dict:
        """Return the constructor's arguments."""
        return {**super().get_config(), "tokenizer": _tokenizers.to_config(self.tokenizer)}

    @classmethod
    def from_config(cls, config: dict) -> "Subwords":
        """Return a preprocessor from `get_config`'s dict."""
        return cls(**{**config, "tokenizer": _tokenizers.from_config(config["tokenizer"])})

    def _special_tokens_of_pairs(self) -> SpecialTokens:
        """Return the tokens around and between two texts.

        Raises:
            ValueError: if the tokenizer has no token to separate them, or the length leaves no room for a word of each.
        """
        if self._end is None:
            raise ValueError(
                "`tokenizer` must have an end token to separate the texts of a pair, but "
                f"{type(self.tokenizer).__name__} has none. Use another one, such as "
                "keras_hub.tokenizers.BertTokenizer, or that of Subwords.learn(..., pair=...)."
            )
        separator = (self._end,) * _tokenizers.separator_count(self.tokenizer)
        special = SpecialTokens(() if self._start is None else (self._start,), separator, (self._end,))
        least = sum(map(len, special)) + 2
        if self.length < least:
            raise ValueError(
                "`length` must leave room for a word of each text of a pair beside the special tokens, received "
                f"{self.length}. Use at least {least}."
            )
        return special

    def _tokens(self, words: tf.RaggedTensor) -> Tokens:
        """Return the sub-words of words [B, None], as many as fit into a row of one text."""
        first_words = words[:, : self._max_subwords]  # each has at least one sub-word
        subwords = self._subwords(self._with_blanks(first_words))
        starts = tf.cast(tf.ragged.range(subwords.row_lengths()).flat_values == 0, tf.int32)
        return Tokens(
            *(
                first_words.with_values(subwords.with_values(values)).merge_dims(1, 2)[:, : self._max_subwords]
                for values in (subwords.values, starts)
            )
        )

    def _with_blanks(self, words: tf.RaggedTensor) -> tf.Tensor:
        """Return all words [N], with a blank before those that are not the first of a row if the tokenizer needs it."""
        if not self._adds_blanks:
            return words.values
        is_first = tf.ragged.range(words.row_lengths()).values == 0
        return tf.strings.join([tf.where(is_first, "", " "), words.values])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def _subwords(self, words):
        """Return the sub-words of words [N], ragged [N, None], at least one each; always by TensorFlow ops."""
        ids = tf.cast(self.tokenizer(tf.strings.unicode_transcode(words, "UTF-8", "UTF-8")), tf.int32)
        ids = ids.with_values(tf.where(ids.values < 0, self._unknown, ids.values))  # -1: unknown bytes
        is_empty = ids.row_lengths() == 0
        unknown = tf.repeat(self._unknown, tf.math.count_nonzero(is_empty))
        return tf.concat([ids, tf.RaggedTensor.from_row_lengths(unknown, tf.cast(is_empty, tf.int64))], axis=1)

    def _enclosed(self, tokens: tf.RaggedTensor, start: int | None, end: int | None) -> tf.RaggedTensor:
        """Return rows with a value at the positions of the start and end tokens, if the tokenizer has them."""
        column = [tokens.nrows(), 1]
        before = [] if self._start is None else [tf.fill(column, start)]
        after = [] if self._end is None else [tf.fill(column, end)]
        return tf.concat([*before, tokens, *after], axis=1)


def _joined(batch: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
    """Return texts, or words joined by blanks."""
    return tf.strings.reduce_join(batch, axis=1, separator=" ") if isinstance(batch, tf.RaggedTensor) else batch
