"""Ask an exported model about texts or pictures, in a process that has only TensorFlow.

python recipes/ask_export.py saved_models/sentiment/1 "What a lovely day!" "I want my money back."
python recipes/ask_export.py saved_models/glue/1 first="It rains." second="It is wet."    # a model of pairs
python recipes/ask_export.py saved_models/blood_cells/1 cells.jpg                            # one of pictures
"""

import contextlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import quiet_tensorflow  # noqa: F401
import numpy as np
import tensorflow as tf

PICTURES = (".jpg", ".jpeg", ".png")
PADDING = {"O": b"", "i": -1, "f": 0.0}  # by kind of dtype: the values after a list's end


def ask_in_new_process(path: Path, texts: Sequence[str] | Mapping[str, Sequence[str]]) -> None:
    """Print the answers of an exported model, from a new process.

    Args:
        path: The exported model.
        texts: The texts or the paths of pictures, or `{input: texts}` for a model of pairs.
    """
    if isinstance(texts, Mapping):
        texts = [f"{name}={text}" for name in texts for text in texts[name]]
    print(f"\nExported to {path}; its answers, from a new process:\n", flush=True)
    subprocess.run([sys.executable, __file__, path, *texts], check=True)


def main(path: str, *texts: str) -> None:
    with contextlib.suppress(ImportError):
        import tensorflow_text  # noqa: F401  registers the ops of WordPiece tokenizers
    serve = tf.saved_model.load(path).signatures["serving_default"]
    inputs = by_input(texts, list(serve.structured_input_signature[1]))
    outputs = serve(**{name: tf.constant([content(value) for value in values]) for name, values in inputs.items()})
    for i, values in enumerate(zip(*inputs.values(), strict=True)):
        print(*values, sep=" | ")
        for name in sorted(outputs):
            print(f"    {name:<22} {as_text(outputs[name][i].numpy())}")


def by_input(texts: Sequence[str], names: Sequence[str]) -> dict[str, list[str]]:
    """Return texts by the names of the model's inputs; of several inputs, a text begins with "<input>="."""
    if len(names) == 1:
        return {names[0]: list(texts)}
    inputs: dict[str, list[str]] = {}
    for name, _, text in (text.partition("=") for text in texts):
        inputs.setdefault(name, []).append(text)
    if inputs.keys() != set(names) or len(set(map(len, inputs.values()))) > 1:
        raise SystemExit(f"Give one text for each input in turn, {' '.join(f'{name}=TEXT' for name in names)}.")
    return inputs


def content(text: str) -> str | bytes:
    """Return the bytes of a picture's file, or a text."""
    is_picture = text.lower().endswith(PICTURES) and Path(text).is_file()
    return Path(text).read_bytes() if is_picture else text


def as_text(value: Any) -> str:
    """Return a value as text; of a list the values without padding."""
    if getattr(value, "ndim", 0):
        padding = PADDING[value.dtype.kind]
        return ", ".join(as_text(item) for item in value if np.any(item != padding)) or "-"
    return value.decode() if isinstance(value, bytes) else f"{value:.3f}" if value.dtype.kind == "f" else str(value)


if __name__ == "__main__":
    main(*sys.argv[1:])
