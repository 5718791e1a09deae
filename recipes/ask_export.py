"""Ask an exported model about texts, in a process that has only TensorFlow.

python recipes/ask_export.py saved_models/sentiment/1 "What a lovely day!" "I want my money back."
"""

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import quiet_tensorflow  # noqa: F401
import tensorflow as tf

PADDING = {"O": b"", "i": -1, "f": 0.0}  # by kind of dtype: the values after a list's end


def ask_in_new_process(path: Path, texts: Sequence[str]) -> None:
    """Print the answers of an exported model, from a new process."""
    print(f"\nExported to {path}; its answers, from a new process:\n", flush=True)
    subprocess.run([sys.executable, __file__, path, *texts], check=True)


def main(path: str, *texts: str) -> None:
    with contextlib.suppress(ImportError):
        import tensorflow_text  # noqa: F401  registers the ops of WordPiece tokenizers
    serve = tf.saved_model.load(path).signatures["serving_default"]
    outputs = serve(text=tf.constant(list(texts)))
    for i, text in enumerate(texts):
        print(text)
        for name in sorted(outputs):
            print(f"    {name:<22} {as_text(outputs[name][i].numpy())}")


def as_text(value: Any) -> str:
    """Return a value as text; of a list the values without padding."""
    if getattr(value, "ndim", 0):
        padding = PADDING[value.dtype.kind]
        return ", ".join(as_text(item) for item in value if item != padding) or "-"
    return value.decode() if isinstance(value, bytes) else f"{value:.3f}" if value.dtype.kind == "f" else str(value)


if __name__ == "__main__":
    main(*sys.argv[1:])
