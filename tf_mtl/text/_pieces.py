"""From token ids back to texts, and the tokens that begin and end them."""

import re
from typing import Any, NamedTuple

import tensorflow as tf

from tf_mtl.layers._text_logits import up_to_end
from tf_mtl.text._tokenizers import special_id

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
BLANK = "\u2581"  # how SentencePiece writes a blank


class TextEnds(NamedTuple):
    """The token ids around a text: before it, at its end, and after that; none of them is part of a text."""

    start: int
    end: int
    padding: int


def text_ends(tokenizer: Any, start: str | None) -> TextEnds:
    """Return the token ids around the texts of a tokenizer.

    Args:
        tokenizer: The tokenizer.
        start: The token before a text; None for the tokenizer's start token or, without one, its end token.

    Raises:
        ValueError: for an unknown `start`, and if the tokenizer has no end token.
    """
    ids = {token: index for index, token in enumerate(tokenizer.get_vocabulary())}

    def first(roles, tokens):
        of_role = special_id(tokenizer, *roles)
        return of_role if of_role is not None else next((ids[token] for token in tokens if token in ids), None)

    end = first(("end", "sep"), ("</s>", "[SEP]", "[END]"))
    if end is None:
        raise ValueError(
            "`tokenizer` must have a token that ends a text, but has neither an end token, nor '</s>', '[SEP]' or "
            "'[END]'. tf_mtl.text.learn_tokenizer learns one that has it."
        )
    if start is not None and start not in ids:
        raise ValueError(
            f"`start` must be a token of `tokenizer`, received {start!r}. Learn the tokenizer with "
            f"special_tokens=[{start!r}]."
        )
    begin = first(("start", "cls"), ("<s>", "[CLS]", "[START]")) if start is None else ids[start]
    padding = first((), ("<pad>", "[PAD]"))  # keras-hub pads GPT-2 with the token "!"
    return TextEnds(end if begin is None else begin, end, end if padding is None else padding)


def tokenized(tokenizer: Any, texts: tf.Tensor) -> tf.RaggedTensor:
    """Return the token ids of texts [B], ragged int32 [B, None], without special tokens; outside of a graph."""
    rows = tokenizer([text.decode(errors="replace") for text in texts.numpy()])  # lists, from all of keras-hub's
    return tf.ragged.constant(rows, tf.int32, ragged_rank=1)


def detokenized(tokenizer: Any, ids: tf.Tensor, ends: TextEnds, counted: tf.Tensor | None = None) -> tf.Tensor:
    """Return the texts [B] of token ids [B, T], each up to its first end token.

    Bytes that are not UTF-8 are replaced. Texts of a SentencePiece tokenizer need only TensorFlow's own ops.

    Args:
        tokenizer: The tokenizer.
        ids: The token ids.
        ends: The token ids around a text.
        counted: Which tokens belong to a text, [B, T]; None for all.
    """
    is_text = up_to_end(ids, ends.end) & (ids != ends.end) & (ids != ends.padding)
    is_text = is_text if counted is None else is_text & counted
    if _has_plain_pieces(tokenizer):
        pieces = tf.gather(tf.constant(_piece_bytes(tokenizer)), ids)
        texts = tf.strings.reduce_join(tf.where(is_text, pieces, b""), 1)
        texts = tf.strings.regex_replace(texts, "^ ", "")
    else:
        ragged = tf.ragged.boolean_mask(ids, is_text)
        texts = tf.reshape(tokenizer.detokenize(ragged), tf.shape(ids)[:1])
    return tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")


def _has_plain_pieces(tokenizer):
    """Whether the token ids are those of a SentencePiece model, without tokens that a tokenizer adds."""
    if not hasattr(tokenizer, "proto"):
        return False
    processor = tokenizer._sentence_piece_spm
    return tokenizer.get_vocabulary() == processor.IdToPiece(list(range(processor.vocab_size())))


def _piece_bytes(tokenizer):
    processor = tokenizer._sentence_piece_spm
    return [
        b"" if processor.IsControl(index) or processor.IsUnused(index) else _bytes(piece)
        for index, piece in enumerate(tokenizer.get_vocabulary())
    ]


def _bytes(piece):
    byte = _BYTE.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace(BLANK, " ").encode()
