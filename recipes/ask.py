"""Ask an exported model, in a process that knows nothing but TensorFlow.

python recipes/ask.py saved_models/sentiment/1 "What a lovely day!" "I want my money back."
"""

import contextlib
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

with contextlib.suppress(ImportError):
    import tensorflow_text  # noqa: F401  registers the ops of WordPiece tokenizers


def main(path: str, *texts: str) -> None:
    answer = tf.saved_model.load(path).signatures["serving_default"]
    outputs = answer(text=tf.constant(list(texts)))
    for i, text in enumerate(texts):
        print(text)
        for name in sorted(outputs):
            print(f"    {name:<22} {shown(outputs[name][i].numpy())}")


def shown(value) -> str:
    """Return a value as text; of a list what is there, without the filling behind it."""
    if getattr(value, "ndim", 0):
        filling = {"O": b"", "i": -1, "f": 0.0}[value.dtype.kind]
        return ", ".join(shown(one) for one in value if one != filling) or "-"
    return value.decode() if isinstance(value, bytes) else f"{value:.3f}" if value.dtype.kind == "f" else str(value)


if __name__ == "__main__":
    main(*sys.argv[1:])
