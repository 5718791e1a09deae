"""Properties of keras-hub's tokenizers, and their configs with the vocabulary included."""

import base64
from typing import Any

import keras

_NOT_IN_CONFIG = ("vocabulary", "merges", "split_on_cjk")  # of keras-hub's get_config


def special_id(tokenizer: Any, *names: str) -> int | None:
    """Return the id of a tokenizer's special token by the first name that the tokenizer has; None without any."""
    ids = (getattr(tokenizer, f"{name}_token_id", None) for name in names)
    return next((token_id for token_id in ids if token_id is not None), None)


def unknown_id(tokenizer: Any) -> int:
    """Return the id of unknown words: that of the unknown token or, as in GPT-2, of the end token.

    Raises:
        ValueError: if the tokenizer has neither token.
    """
    if hasattr(tokenizer, "proto"):
        return tokenizer.token_to_id("<unk>")
    vocabulary = set(tokenizer.get_vocabulary())
    for token in (getattr(tokenizer, "oov_token", None), "<unk>", "[UNK]"):
        if token in vocabulary:
            return tokenizer.token_to_id(token)
    end = special_id(tokenizer, "end", "sep")
    if end is None:
        raise ValueError(
            "`tokenizer` must have a token for unknown words, but its vocabulary has neither '<unk>', nor '[UNK]', nor "
            "an end token. Add '<unk>' to it."
        )
    return end


def separator_count(tokenizer: Any) -> int:
    """Return how many end tokens separate the texts of a pair."""
    import keras_hub

    kinds = keras_hub.tokenizers
    return 2 if isinstance(tokenizer, kinds.RobertaTokenizer | kinds.XLMRobertaTokenizer | kinds.BartTokenizer) else 1


def needs_blanks(tokenizer: Any) -> bool:
    """Return whether words that follow a blank must begin with it."""
    return hasattr(tokenizer, "merges") and not tokenizer.add_prefix_space


def check_tokenizer(tokenizer: Any) -> None:
    """Raise unless a tokenizer turns strings [N] into ragged integers [N, None].

    Raises:
        TypeError: for anything but a layer with a vocabulary.
        ValueError: for a tokenizer with other outputs.
    """
    if not isinstance(tokenizer, keras.layers.Layer) or not hasattr(tokenizer, "get_vocabulary"):
        raise TypeError(f"`tokenizer` must be one of keras_hub.tokenizers, received {tokenizer!r}.")
    rule = "must turn strings [N] into ragged token ids [N, None]"
    if getattr(tokenizer, "add_bos", False) or getattr(tokenizer, "add_eos", False):
        raise ValueError(f"`tokenizer` {rule} without special tokens. Create it without `add_bos` and `add_eos`.")
    if tokenizer.compute_dtype not in ("int32", "int64"):
        raise ValueError(f'`tokenizer` {rule}, received dtype {tokenizer.compute_dtype}. Create it with dtype="int32".')
    if getattr(tokenizer, "sequence_length", None) is not None:
        raise ValueError(f"`tokenizer` {rule}, received one with a fixed `sequence_length`. Create it without.")
    if not getattr(tokenizer, "split", True):
        raise ValueError(f"`tokenizer` {rule}, received one with split=False. Create it with split=True.")


def to_config(tokenizer: Any) -> dict:
    """Return a tokenizer as plain values, including what keras-hub saves in separate files."""
    config = keras.saving.serialize_keras_object(tokenizer)
    for name in _NOT_IN_CONFIG:
        if hasattr(tokenizer, name):
            value = getattr(tokenizer, name)
            config["config"][name] = value if isinstance(value, dict | bool) else list(value)
    if hasattr(tokenizer, "proto"):
        config["config"]["proto"] = base64.b64encode(tokenizer.proto).decode()
    return config


def from_config(config: dict) -> Any:
    """Return a tokenizer from `to_config`'s dict."""
    import keras_hub  # noqa: F401  registers its tokenizers

    inner = dict(config["config"])
    if "proto" in inner:
        inner["proto"] = base64.b64decode(inner["proto"])
    return keras.saving.deserialize_keras_object({**config, "config": inner})
