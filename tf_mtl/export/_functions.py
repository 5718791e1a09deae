"""Traced functions as the signatures of a SavedModel."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf


def save(functions: Mapping[str, Any], folder: str | Path, resources: Sequence[Any] = ()) -> None:
    """Save functions with the variables that they use.

    Concrete functions are saved as they are. `keras.export.ExportArchive` would trace each again, and save both traces.

    Args:
        functions: `tf.function`s with an input signature, by the names of their signatures.
        folder: The folder to write.
        resources: The lookup tables that they use.
    """
    concrete = {name: function.get_concrete_function() for name, function in functions.items()}
    module = tf.Module()
    module.resources = list(resources)
    module.weights = list({id(v): v for function in concrete.values() for v in function.variables}.values())
    tf.saved_model.save(module, str(folder), signatures=concrete)
