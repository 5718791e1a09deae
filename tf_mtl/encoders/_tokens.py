"""Inputs of text encoders: token ids, alone or in a dict with masks and word boundaries."""

from collections.abc import Mapping
from typing import Any

import keras

from tf_mtl._keys import PADDING_MASK, SEGMENT_IDS, TOKEN_IDS, WORD_STARTS


def token_ids(inputs: Any) -> Any:
    """Return the token ids: `inputs`, or its entry `token_ids`. For shapes, return the shape of the token ids.

    Raises:
        ValueError: for a dict without `token_ids`.
    """
    if not isinstance(inputs, Mapping):
        return inputs
    if TOKEN_IDS not in inputs:
        raise ValueError(
            f"`inputs` of a text encoder must be token ids or a dict with 'token_ids', received a dict with the keys "
            f"{sorted(inputs)}. Add 'token_ids'."
        )
    return inputs[TOKEN_IDS]


def token_mask(inputs: Any) -> Any:
    """Return which tokens are not padding: `padding_mask` if the inputs have it, otherwise all ids but 0."""
    has_mask = isinstance(inputs, Mapping) and PADDING_MASK in inputs
    return keras.ops.not_equal(inputs[PADDING_MASK] if has_mask else token_ids(inputs), 0)


def word_starts(inputs: Any) -> dict[str, Any]:
    """Return the feature `word_starts`, which marks each word's first token, or no feature if the inputs lack it.

    In pairs of texts, which have `segment_ids`, only the words of the first text are marked.
    """
    if not isinstance(inputs, Mapping) or WORD_STARTS not in inputs:
        return {}
    starts = inputs[WORD_STARTS]
    if SEGMENT_IDS not in inputs:
        return {WORD_STARTS: starts}
    return {WORD_STARTS: keras.ops.where(keras.ops.equal(inputs[SEGMENT_IDS], 0), starts, keras.ops.zeros_like(starts))}
