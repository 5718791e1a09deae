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
            value = outputs[name][i].numpy()
            print(f"    {name:<22} {value.decode() if isinstance(value, bytes) else f'{value:.3f}'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
