"""What encoders of text take: token ids, alone or in a dict beside the map of the words."""

from collections.abc import Mapping
from typing import Any

import keras

from tf_mtl._keys import PADDING_MASK, TOKEN_IDS, WORD_STARTS


def token_ids(inputs: Any) -> Any:
    """Return the token ids, or their shape: `inputs`, or what lies there as `token_ids`.

    Raises:
        ValueError: for a dict without `token_ids`.
    """
    if not isinstance(inputs, Mapping):
        return inputs
    if TOKEN_IDS not in inputs:
        raise ValueError(f"An encoder of text takes token ids, or a dict with 'token_ids', not {sorted(inputs)}.")
    return inputs[TOKEN_IDS]


def token_mask(inputs: Any) -> Any:
    """Return which tokens are there: `padding_mask` where it is given, otherwise those that are not 0."""
    given = isinstance(inputs, Mapping) and PADDING_MASK in inputs
    return keras.ops.not_equal(inputs[PADDING_MASK] if given else token_ids(inputs), 0)


def word_map(inputs: Any) -> dict[str, Any]:
    """Return `word_starts`, the feature that tells heads where words begin, where the inputs have it."""
    return {name: x for name, x in inputs.items() if name == WORD_STARTS} if isinstance(inputs, Mapping) else {}
