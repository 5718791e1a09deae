"""The forms in which texts and words come."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

_BATCH = 1024


def rows(argument: str, given: Any) -> tf.Tensor | tf.RaggedTensor:
    """Return texts [B], or ragged words [B, None], as tensors.

    Raises:
        TypeError: for anything but strings and lists of strings.
        ValueError: for a tensor of another rank.
    """
    if not isinstance(given, tf.Tensor | tf.RaggedTensor):
        given = _tensor(argument, given)
    if given.dtype != tf.string:
        raise TypeError(f"`{argument}` must hold strings, received {given.dtype.name}.")
    ragged = isinstance(given, tf.RaggedTensor)
    if given.shape.rank != (2 if ragged else 1):
        raise ValueError(
            f"`{argument}` must be texts [B] or ragged words [B, None], received the shape {given.shape}. Texts need "
            'a batch axis; padded words become ragged by tf.RaggedTensor.from_tensor(words, padding="").'
        )
    return given.with_row_splits_dtype(tf.int64) if ragged else given


def words_of(given: Any) -> tf.RaggedTensor:
    """Return ragged words [B, None].

    Raises:
        TypeError: for anything but lists of strings.
        ValueError: for texts, or a tensor of another rank.
    """
    found = rows("words", given)
    if isinstance(found, tf.RaggedTensor):
        return found
    if found.shape[0] != 0:
        raise ValueError(
            f"`words` must be the words of each text, ragged [B, None], received {found.shape}. Call the preprocessor "
            "with texts, or its `split`."
        )
    return tf.RaggedTensor.from_row_lengths(found, tf.zeros([0], tf.int64))


def batches(data: Any) -> Iterator[tf.Tensor | tf.RaggedTensor]:
    """Yield data in batches: a list, array or data set of texts or of word lists.

    Raises:
        TypeError: for other elements.
        ValueError: if there are none.
    """
    found = None
    for found in _batches(data):
        yield rows("data", found)
    if found is None:
        raise ValueError("`data` must hold at least one text, received none.")


def _batches(data):
    if not isinstance(data, tf.data.Dataset):
        data = list(data)
        return (data[i : i + _BATCH] for i in range(0, len(data), _BATCH))
    spec = data.element_spec
    if not isinstance(spec, tf.TensorSpec) or spec.dtype != tf.string or spec.shape.rank not in (0, 1):
        raise TypeError(
            f"`data` must give one text [], or the words [None] of one, at a time, received {spec}. Map it to the "
            "strings alone, and leave batching out."
        )
    return data.batch(_BATCH) if spec.shape.rank == 0 else map(_ragged, data.ragged_batch(_BATCH))


def _ragged(batch):
    """Words of a known number, which `ragged_batch` leaves dense, like others."""
    return batch if isinstance(batch, tf.RaggedTensor) else tf.RaggedTensor.from_tensor(batch)


def _tensor(argument, given):
    given = list(given) if isinstance(given, Iterable) and not isinstance(given, str | bytes) else None
    if given is None:
        raise TypeError(f"`{argument}` must be a list of texts, or of lists of words: put a single text into a list.")
    words = [row for row in given if isinstance(row, list | tuple | np.ndarray)]
    if words and len(words) < len(given):
        raise TypeError(f"`{argument}` must be texts or lists of words, received both.")
    for value in (value for row in words for value in row) if words else given:
        if not isinstance(value, str | bytes):
            raise TypeError(f"`{argument}` must hold strings, received {value!r} ({type(value).__name__}).")
    if not words:
        return tf.constant(given, tf.string)
    flat = tf.constant([value for row in words for value in row], tf.string)
    return tf.RaggedTensor.from_row_lengths(flat, tf.constant([len(row) for row in words], tf.int64))
