"""Texts and words as tensors of strings."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

_BATCH = 1024


def to_strings(argument: str, value: Any) -> tf.Tensor | tf.RaggedTensor:
    """Return a tensor of texts [B], or of ragged words [B, None].

    Args:
        argument: The name of the argument, for error messages.
        value: A list, array or tensor of texts, or of lists of words.

    Raises:
        TypeError: for anything but strings and lists of strings.
        ValueError: for a tensor of another rank.
    """
    tensor = value if isinstance(value, tf.Tensor | tf.RaggedTensor) else _tensor(argument, value)
    if tensor.dtype != tf.string:
        raise TypeError(f"`{argument}` must hold strings, received {tensor.dtype.name}.")
    is_ragged = isinstance(tensor, tf.RaggedTensor)
    if tensor.shape.rank != (2 if is_ragged else 1):
        raise ValueError(
            f"`{argument}` must be texts [B] or ragged words [B, None], received the shape {tensor.shape}. Give texts "
            'a batch axis; make padded words ragged with tf.RaggedTensor.from_tensor(words, padding="").'
        )
    return tensor.with_row_splits_dtype(tf.int64) if is_ragged else tensor


def to_ragged_words(value: Any) -> tf.RaggedTensor:
    """Return a tensor of ragged words [B, None].

    Raises:
        TypeError: for anything but lists of strings.
        ValueError: for texts, or a tensor of another rank.
    """
    strings = to_strings("words", value)
    if isinstance(strings, tf.RaggedTensor):
        return strings
    if strings.shape[0] != 0:
        raise ValueError(
            f"`words` must be the words of each text, ragged [B, None], received texts {strings.shape}. Call the "
            "preprocessor itself with texts, or `split` them first."
        )
    return tf.RaggedTensor.from_row_lengths(strings, tf.zeros([0], tf.int64))


def string_batches(data: Any) -> Iterator[tf.Tensor | tf.RaggedTensor]:
    """Yield batches of texts [B] or ragged words [B, None] from a list, array or data set.

    Raises:
        TypeError: for other elements.
        ValueError: for data without elements.
    """
    is_empty = True
    for batch in _batches(data):
        is_empty = False
        yield to_strings("data", batch)
    if is_empty:
        raise ValueError("`data` must hold at least one text, received none.")


def _batches(data: Any) -> Iterable[Any]:
    if isinstance(data, str | bytes):
        raise TypeError(f"`data` must be a list of texts, received one text, {data[:40]!r}. Put it into a list.")
    if not isinstance(data, tf.data.Dataset):
        data = list(data)
        return (data[i : i + _BATCH] for i in range(0, len(data), _BATCH))
    spec = data.element_spec
    if not isinstance(spec, tf.TensorSpec) or spec.dtype != tf.string or spec.shape.rank not in (0, 1):
        raise TypeError(
            f"`data` must be a data set of single texts [], or of their words [None], received {spec}. `map` it to the "
            "strings alone, and do not batch it."
        )
    return data.batch(_BATCH) if spec.shape.rank == 0 else map(_ragged, data.ragged_batch(_BATCH))


def _ragged(batch: tf.Tensor | tf.RaggedTensor) -> tf.RaggedTensor:
    """Return ragged words; `ragged_batch` leaves them dense if the element spec has their number."""
    return batch if isinstance(batch, tf.RaggedTensor) else tf.RaggedTensor.from_tensor(batch)


def _tensor(argument: str, value: Any) -> tf.Tensor | tf.RaggedTensor:
    if not isinstance(value, Iterable) or isinstance(value, str | bytes):
        raise TypeError(
            f"`{argument}` must be a list of texts, or of lists of words, received {type(value).__name__}. Put a "
            "single text into a list."
        )
    rows = list(value)
    word_lists = [row for row in rows if isinstance(row, list | tuple | np.ndarray)]
    if word_lists and len(word_lists) < len(rows):
        raise TypeError(f"`{argument}` must be texts or lists of words, received both.")
    strings = [word for row in word_lists for word in row] if word_lists else rows
    for string in strings:
        if not isinstance(string, str | bytes):
            raise TypeError(f"`{argument}` must hold strings, received {string!r} ({type(string).__name__}).")
    if not word_lists:
        return tf.constant(strings, tf.string)
    row_lengths = tf.constant([len(row) for row in word_lists], tf.int64)
    return tf.RaggedTensor.from_row_lengths(tf.constant(strings, tf.string), row_lengths)
