"""What keras-hub's tokenizers say of themselves, and their configs with the vocabulary in them."""

import base64
from typing import Any

import keras

_LEFT_OUT = ("vocabulary", "merges", "split_on_cjk")  # of get_config


def special_id(tokenizer: Any, *names: str) -> int | None:
    """Return the id of a tokenizer's special token, by the first of these names that it knows."""
    found = (getattr(tokenizer, f"{name}_token_id", None) for name in names)
    return next((value for value in found if value is not None), None)


def unknown_id(tokenizer: Any) -> int:
    """Return the id of unknown words.

    It is the unknown token's, or, in GPT-2's way, the end token's.

    Raises:
        ValueError: if there is neither.
    """
    if hasattr(tokenizer, "proto"):
        return tokenizer.token_to_id("<unk>")
    known = set(tokenizer.get_vocabulary())
    for token in (getattr(tokenizer, "oov_token", None), "<unk>", "[UNK]"):
        if token in known:
            return tokenizer.token_to_id(token)
    end = special_id(tokenizer, "end", "sep")
    if end is None:
        raise ValueError(
            "`tokenizer` must have a token for unknown words, but its vocabulary has neither '<unk>' nor '[UNK]' nor "
            "an end token: add '<unk>' to it."
        )
    return end


def wants_blanks(tokenizer: Any) -> bool:
    """Return whether words that follow a blank need one before them."""
    return hasattr(tokenizer, "merges") and not tokenizer.add_prefix_space


def check_tokenizer(tokenizer: Any) -> None:
    """Raise unless a tokenizer turns strings [N] into ragged integers [N, None].

    Raises:
        TypeError: for anything but a layer with a vocabulary.
        ValueError: for what a tokenizer gives otherwise.
    """
    if not isinstance(tokenizer, keras.layers.Layer) or not hasattr(tokenizer, "get_vocabulary"):
        raise TypeError(f"`tokenizer` must be one of keras_hub.tokenizers, received {tokenizer!r}.")
    rule = "must turn strings [N] into ragged token ids [N, None]"
    if getattr(tokenizer, "add_bos", False) or getattr(tokenizer, "add_eos", False):
        raise ValueError(f"`tokenizer` {rule} of words alone: make it without `add_bos` and `add_eos`.")
    if tokenizer.compute_dtype not in ("int32", "int64"):
        raise ValueError(f'`tokenizer` {rule}, received one of {tokenizer.compute_dtype}: make it with dtype="int32".')
    if getattr(tokenizer, "sequence_length", None) is not None:
        raise ValueError(f"`tokenizer` {rule}, received one of sequences of a fixed length: leave it out.")
    if not getattr(tokenizer, "split", True):
        raise ValueError(f"`tokenizer` {rule}, received one with split=False: make it with split=True.")


def to_config(tokenizer: Any) -> dict:
    """Return a tokenizer as plain values, with what keras-hub keeps in files beside it."""
    config = keras.saving.serialize_keras_object(tokenizer)
    for name in _LEFT_OUT:
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
