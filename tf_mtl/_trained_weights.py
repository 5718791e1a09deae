"""Save and load the weights that training changes, such as adapters, without those of frozen layers."""

import re
import zipfile
from pathlib import Path

import keras
import numpy as np

from tf_mtl._files import whole_file


def save_trained_weights(model: keras.Model, path: str | Path) -> None:
    """Save the weights of all layers that are not frozen: adapters and heads, but not the backbone that they adapt.

    The file holds the weights' paths and values. It appears under its name only once it is complete.

    Args:
        model: A model, some of whose layers have `trainable=False`.
        path: The file, which ends with ".npz".

    Raises:
        ValueError: for a path with another ending, and if all weights are frozen.

    Example:

    >>> encoder = mtl.encoders.MLPEncoder([4])
    >>> encoder.trainable = False
    >>> trunk = mtl.trunks.LoRA(encoder, rank=1)
    >>> model = mtl.build_model(keras.Input((3,)), trunk, [mtl.tasks.Regression("a"), mtl.tasks.Regression("b")])
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/adapters.npz"
    >>> mtl.save_trained_weights(model, path)
    >>> mtl.load_trained_weights(model, path)
    """
    target, weights = _checked(path), _trained(model)
    values = {f"{index} {v.path}": keras.ops.convert_to_numpy(keras.ops.cast(v, _stored(v))) for index, v in weights}
    with whole_file(target) as file:
        np.savez(file, **values)


def load_trained_weights(model: keras.Model, path: str | Path) -> None:
    """Load what `save_trained_weights` saved into a model that is built and frozen in the same way.

    The frozen weights stay as they are.

    Args:
        model: The model.
        path: The file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged or not one of `save_trained_weights`, or has other weights than the layers of
            the model that are not frozen. The model is then unchanged.
    """
    source, weights = _checked(path), _trained(model)
    saved = _read(source)
    if len(saved) != len(weights):
        raise ValueError(
            f"`model` must have the {len(saved)} weights in {path}, but {len(weights)} of its weights are in layers "
            "that are not frozen. Build it as the saved one, and freeze the same layers."
        )
    for (_, v), (name, value) in zip(weights, saved, strict=True):
        if (_unnumbered(name), value.shape) != (_unnumbered(v.path), tuple(v.shape)):
            raise ValueError(
                f"`model` must have the weights in {path}: there is '{name}' of the shape {value.shape}, in its place "
                f"the model has '{v.path}' of the shape {tuple(v.shape)}. Build it as the saved one."
            )
    for (_, v), (_, value) in zip(weights, saved, strict=True):
        v.assign(value)


def _read(path):
    """The paths and values in a file."""
    try:
        with open(path, "rb") as file:
            values = np.load(file)
            return [(name.split(" ", 1)[1], values[name]) for name in values.files]
    except (zipfile.BadZipFile, EOFError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(
            f"`path` must be a file of save_trained_weights, but {path} is damaged or another file."
        ) from error


def _trained(model):
    """The weights that training changes, with their numbers."""
    trained = {id(v) for v in model.trainable_variables}
    frozen = {
        id(v)
        for layer in model._flatten_layers()
        if not layer.trainable
        for v in [*layer._trainable_variables, *layer._non_trainable_variables]
    }
    weights = [v for v in model.weights if id(v) in trained or id(v) not in frozen]
    if not weights:
        raise ValueError(f"`model` '{model.name}' must have weights that are not frozen, received none.")
    return list(enumerate(weights))


def _unnumbered(path):
    """A path without the numbers that Keras adds to the names of layers."""
    return re.sub(r"_\d+(?=/|$)", "", path)


def _stored(variable):
    """NumPy's files hold no bfloat16."""
    return "float32" if variable.dtype == "bfloat16" else variable.dtype


def _checked(path):
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"`path` must end with '.npz', received '{path}'.")
    return path
