"""Preprocessors in files."""

import json
from pathlib import Path

import keras

from tf_mtl._files import whole_file
from tf_mtl.text._base import TextPreprocessor


def save(preprocessor: TextPreprocessor, path: str | Path) -> Path:
    """Write a preprocessor with its vocabulary to one JSON file, which is never left incomplete.

    Args:
        preprocessor: The preprocessor.
        path: The file, in an existing folder; an existing file is replaced.

    Returns:
        The path.

    Raises:
        TypeError: for anything but a preprocessor of this package.

    Example:

    >>> import tempfile
    >>> path = mtl.text.save(mtl.text.Words(["so", "it"], length=5), tempfile.mkdtemp() + "/words.json")
    >>> mtl.text.load(path).vocabulary
    ('so', 'it')
    """
    if not isinstance(preprocessor, TextPreprocessor):
        raise TypeError(f"`preprocessor` must be a tf_mtl.text.TextPreprocessor, received {preprocessor!r}.")
    with whole_file(Path(path)) as file:
        file.write(json.dumps(keras.saving.serialize_keras_object(preprocessor), ensure_ascii=False).encode())
    return Path(path)


def load(path: str | Path) -> TextPreprocessor:
    """Return the preprocessor in a file of `tf_mtl.text.save`, which has an example.

    Args:
        path: The file.

    Raises:
        ValueError: if the file does not hold a preprocessor.
    """
    config = json.loads(Path(path).read_text("utf-8"))
    preprocessor = keras.saving.deserialize_keras_object(config) if isinstance(config, dict) else config
    if not isinstance(preprocessor, TextPreprocessor):
        raise ValueError(
            f"`path` must be a file that tf_mtl.text.save wrote, but {path} holds a {type(preprocessor).__name__}."
        )
    return preprocessor
