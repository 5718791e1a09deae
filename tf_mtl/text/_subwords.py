"""Sub-words as tokens, with the tokenizers of keras-hub."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._keys import PADDING_MASK, TOKEN_IDS, WORD_STARTS
from tf_mtl.text import _tokenizers
from tf_mtl.text._base import TextPreprocessor
from tf_mtl.text._rows import batches, words_of


@keras.saving.register_keras_serializable("tf_mtl")
class Subwords(TextPreprocessor):
    """A keras-hub tokenizer, applied to each word by itself, so that each sub-word belongs to one word.

    It gives, each int32 [B, length]: `token_ids`, with the tokenizer's start and end token around, if it has them, and
    its padding token behind, otherwise 0; `padding_mask`, 1 at each token; and `word_starts`, 1 at each word's first
    sub-word, 0 elsewhere. A word without any sub-word, such as a control character, becomes the unknown token, so
    each word within the length has its start. A word may be cut at the length; the end token never is.

    A byte-pair tokenizer distinguishes words that follow a blank. All but the first are given one, in training and
    serving alike, brackets and full stops too, for a corpus' words do not tell what was between them. With its
    `add_prefix_space=True` the first has one too. A SentencePiece tokenizer takes every word as one behind a blank;
    set seeds before making it, for `keras.utils.set_random_seed` unloads its model.

    Args:
        tokenizer: A keras-hub tokenizer that gives ragged integers: `BertTokenizer`, `WordPieceTokenizer`,
            `RobertaTokenizer`, `AlbertTokenizer`, ...
        length: The longest sequence of tokens, start and end included.
        **kwargs: `name`; see `keras.layers.Layer`.

    Raises:
        TypeError: if `tokenizer` is none.
        ValueError: if it gives anything but ragged integers, has no token for unknown words, or the length leaves no
            room for a word.

    Example:

    >>> import keras_hub
    >>> vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "so", "it", "go", "##es"]
    >>> subwords = mtl.text.Subwords(keras_hub.tokenizers.BertTokenizer(vocabulary, lowercase=True), length=8)
    >>> for name, row in subwords(["So it goes!"]).items():
    ...     print(name, row.numpy().tolist())
    token_ids [[2, 5, 6, 7, 8, 1, 3, 0]]
    padding_mask [[1, 1, 1, 1, 1, 1, 1, 0]]
    word_starts [[0, 1, 1, 1, 0, 1, 0, 0]]
    """

    names = (TOKEN_IDS, PADDING_MASK, WORD_STARTS)

    def __init__(self, tokenizer: Any, length: int, **kwargs):
        super().__init__(length, **kwargs)
        _tokenizers.check_tokenizer(tokenizer)
        self.tokenizer = tokenizer
        special = (_tokenizers.special_id(tokenizer, *names) for names in (("start", "cls"), ("end", "sep"), ("pad",)))
        self._start, self._end, self._pad = special
        self._unknown = _tokenizers.unknown_id(tokenizer)
        self._blanks = _tokenizers.wants_blanks(tokenizer)
        self._room = length - (self._start is not None) - (self._end is not None)
        if self._room < 1:
            raise ValueError(f"`length` must leave room for a word beside the start and end tokens, received {length}.")

    @classmethod
    def learn(cls, data: Any, length: int, vocabulary_size: int, lowercase: bool = True, **kwargs) -> "Subwords":
        """Return the preprocessor with a WordPiece vocabulary learnt from some texts.

        Its tokenizer is a `keras_hub.tokenizers.WordPieceTokenizer`: "[PAD]" is 0, "[UNK]" 1, without start and end
        tokens (Schuster & Nakajima, "Japanese and Korean voice search", ICASSP 2012; Devlin et al., "BERT", 2019).

        Args:
            data: Texts or lists of words: a list or array of them, or a data set whose elements are texts [] or words
                [None].
            length: The longest sequence of tokens.
            vocabulary_size: The most tokens.
            lowercase: Whether to lower the case.
            **kwargs: `name`; see `keras.layers.Layer`.

        Raises:
            TypeError: for data of another form.
            ValueError: if there are no data.
        """
        import keras_hub

        texts = [_joined(batch) for batch in batches(data)]
        vocabulary = keras_hub.tokenizers.compute_word_piece_vocabulary(
            tf.data.Dataset.from_tensor_slices(tf.concat(texts, 0)).batch(1024),
            vocabulary_size,
            lowercase=lowercase,
            reserved_tokens=["[PAD]", "[UNK]"],
        )
        return cls(keras_hub.tokenizers.WordPieceTokenizer(vocabulary, lowercase=lowercase), length, **kwargs)

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids."""
        return self.tokenizer.vocabulary_size()

    def padding(self, name: str) -> int:
        """Return the tokenizer's padding token for `token_ids`, otherwise 0."""
        return (self._pad or 0) if name == TOKEN_IDS else 0

    def encode(self, words: Any) -> dict[str, tf.RaggedTensor]:
        """Return `token_ids`, `padding_mask` and `word_starts`, ragged int32 [B, None], of ragged words [B, None]."""
        kept = words_of(words)[:, : self._room]
        pieces = self._pieces(self._spaced(kept))
        starts = tf.cast(tf.ragged.range(pieces.row_lengths()).flat_values == 0, tf.int32)
        tokens, starts = (
            kept.with_values(pieces.with_values(values)).merge_dims(1, 2)[:, : self._room]
            for values in (pieces.values, starts)
        )
        tokens = self._around(tokens, self._start, self._end)
        return {
            TOKEN_IDS: tokens,
            PADDING_MASK: tf.ones_like(tokens),
            WORD_STARTS: self._around(starts, 0, 0),
        }

    def word_counts(self, encoded: dict[str, tf.RaggedTensor]) -> tf.Tensor:
        """Return how many words of each row were kept, int64 [B]."""
        return tf.cast(tf.reduce_sum(encoded[WORD_STARTS], axis=1), tf.int64)

    def get_config(self) -> dict:
        """Return the constructor's arguments."""
        return {**super().get_config(), "tokenizer": _tokenizers.to_config(self.tokenizer)}

    @classmethod
    def from_config(cls, config: dict) -> "Subwords":
        """Return a preprocessor from `get_config`'s dict."""
        return cls(**{**config, "tokenizer": _tokenizers.from_config(config["tokenizer"])})

    def _spaced(self, words):
        """All words, with a blank before those that are not a row's first."""
        if not self._blanks:
            return words.values
        first = tf.ragged.range(words.row_lengths()).values == 0
        return tf.strings.join([tf.where(first, "", " "), words.values])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def _pieces(self, words):
        """The sub-words of words [N], ragged [N, None], at least one each, always by TensorFlow ops."""
        pieces = tf.cast(self.tokenizer(tf.strings.unicode_transcode(words, "UTF-8", "UTF-8")), tf.int32)
        pieces = pieces.with_values(tf.where(pieces.values < 0, self._unknown, pieces.values))  # -1: unknown bytes
        none = pieces.row_lengths() == 0
        unknown = tf.repeat(self._unknown, tf.math.count_nonzero(none))
        return tf.concat([pieces, tf.RaggedTensor.from_row_lengths(unknown, tf.cast(none, tf.int64))], axis=1)

    def _around(self, tokens, start, end):
        """Rows with a value where the start and end tokens are, if the tokenizer has them."""
        column = [tokens.nrows(), 1]
        before = [] if self._start is None else [tf.fill(column, start)]
        behind = [] if self._end is None else [tf.fill(column, end)]
        return tf.concat([*before, tokens, *behind], axis=1)


def _joined(batch):
    """Texts, or words joined by blanks."""
    return tf.strings.reduce_join(batch, axis=1, separator=" ") if isinstance(batch, tf.RaggedTensor) else batch
