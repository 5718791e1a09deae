"""Encoders in stages: running them, copying them, and working on what they return."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

Encoder = keras.layers.Layer | Sequence[Any]
Output = keras.KerasTensor | Mapping[str, keras.KerasTensor]


def checked(argument: str, encoder: Any) -> Encoder:
    """Return an encoder, or other layers given as an argument.

    Raises:
        TypeError: unless it is a layer, or a list of layers (or of such lists), which are applied in turn.
    """
    if isinstance(encoder, (list, tuple)) and encoder:
        return [checked(argument, part) for part in encoder]
    if not isinstance(encoder, keras.layers.Layer):
        raise TypeError(f"`{argument}` must be a Keras layer or model, or a list of them, received {encoder!r}.")
    return encoder


def stages(asked_by: str, encoder: Any) -> list[Encoder]:
    """Return the stages of an encoder, each a layer or a list of layers that are applied in turn.

    Raises:
        ValueError: if it has none.
    """
    if isinstance(encoder, keras.layers.Layer) and not encoder.trainable:
        encoder.trainable = True  # its stages may have been made after it was frozen
        encoder.trainable = False
    found = encoder.layers if isinstance(encoder, keras.Sequential) else getattr(encoder, "stages", encoder)
    if not isinstance(found, (list, tuple)) or not found:
        raise ValueError(
            f"`encoder` of {asked_by} must have stages, received {encoder!r}. Pass a list of layers, a Sequential, or "
            "an encoder with `stages`: tf_mtl.encoders.MLPEncoder, ConvEncoder, TransformerEncoder, BackboneEncoder."
        )
    return checked("encoder", found)


def run(argument: str, encoder: Encoder, x: Any) -> Any:
    """Apply a layer, or a list of layers in turn.

    Raises:
        ValueError: naming the argument that the layer came from, if it does not take what it is given.
    """
    if isinstance(encoder, (list, tuple)):
        for part in encoder:
            x = run(argument, part, x)
        return x
    try:
        return encoder(x)
    except (ValueError, TypeError, AttributeError) as error:
        shapes = keras.tree.map_structure(lambda tensor: tensor.shape, x)
        raise ValueError(
            f"`{argument}`: the layer '{getattr(encoder, 'name', encoder)}' does not fit features of shape {shapes}. "
            f"Give one that does, or another encoder. Keras says: {error}"
        ) from error


def copy(encoder: Encoder, suffix: str, weights: bool = True) -> Encoder:
    """Return a copy whose layers' names end in `suffix`.

    Args:
        encoder: A layer, or layers; a `keras.Sequential` becomes a list of layers.
        suffix: What to append to the layers' names.
        weights: Whether weights that there are already are copied, too; otherwise the copy starts afresh.

    Raises:
        ValueError: for a layer with a vocabulary.
    """
    made: dict[int, keras.layers.Layer] = {}

    def copied(part):
        if isinstance(part, (list, tuple)):
            return [copied(one) for one in part]
        if isinstance(part, keras.Sequential):
            return [copied(one) for one in part.layers]
        if id(part) not in made:
            made[id(part)] = _copied_layer(part, suffix, weights)
        return made[id(part)]

    return copied(encoder)


def layers(encoder: Encoder) -> list[keras.layers.Layer]:
    """Return the layers of an encoder, each once, as `copy` sees them."""
    if isinstance(encoder, keras.Sequential):
        encoder = encoder.layers
    if isinstance(encoder, (list, tuple)):
        return list({id(layer): layer for part in encoder for layer in layers(part)}.values())
    return [encoder]


def on_features(function: Callable[[list], list], outputs: Sequence[Output]) -> list[Output]:
    """Apply a function from a list of tensors to a list of tensors, feature by feature where outputs are dicts.

    Masks, and other features that are not floats, are those of the first output.
    """
    first = outputs[0]
    if not isinstance(first, Mapping):
        return function(list(outputs))
    found = {
        key: function([output[key] for output in outputs])
        for key, x in first.items()
        if keras.backend.is_float_dtype(x.dtype)
    }
    number = len(next(iter(found.values())))
    return [{key: found[key][i] if key in found else x for key, x in first.items()} for i in range(number)]


def _copied_layer(layer, suffix, weights):
    if hasattr(layer, "get_vocabulary"):
        raise ValueError(
            f"The layer '{layer.name}' has a vocabulary, which a copy for each task would lose. Turn words into "
            "indices before the model, in the data pipeline."
        )
    copied = type(layer).from_config({**layer.get_config(), "name": f"{layer.name}_{suffix}"})
    if weights and layer.weights:
        if not copied.weights:
            copied.build_from_config(layer.get_build_config())
        copied.set_weights(layer.get_weights())
        for part in copied._flatten_layers():
            if hasattr(part, "finalize_state"):  # Normalization computes with what it derived from its weights
                part.finalize_state()
    return copied
