"""Encoders in stages: applying them, copying them, and applying functions to their outputs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import keras

Encoder: TypeAlias = keras.layers.Layer | Sequence[Any]
Output: TypeAlias = keras.KerasTensor | Mapping[str, keras.KerasTensor]


def layer_or_layers(argument: str, value: Any, none: bool = False) -> Any:
    """Return `value` if it is a layer or a non-empty list of layers; such lists may be nested.

    Args:
        argument: Its name, for the message.
        value: The value received.
        none: Whether None is allowed as well.

    Raises:
        TypeError: for anything else.
    """
    if none and value is None:
        return None
    if isinstance(value, (list, tuple)) and value:
        return [layer_or_layers(argument, part) for part in value]
    if not isinstance(value, keras.layers.Layer):
        raise TypeError(f"`{argument}` must be a Keras layer or model, or a list of them, received {value!r}.")
    return value


def stages(trunk: str, encoder: Any) -> list[Encoder]:
    """Return the stages of an encoder, each a layer or a list of layers that are applied in turn.

    Args:
        trunk: Name of the trunk that needs the stages, for the message.
        encoder: A list of layers, a `keras.Sequential`, or an encoder with `stages`.

    Raises:
        ValueError: if the encoder has no stages.
    """
    if isinstance(encoder, keras.layers.Layer) and not encoder.trainable:
        encoder.trainable = True  # setting False twice does nothing: stages made after freezing would stay trainable
        encoder.trainable = False
    if isinstance(encoder, keras.Sequential):
        parts = encoder.layers
    else:
        parts = encoder.stages if hasattr(encoder, "stages") else encoder
    if not isinstance(parts, (list, tuple)) or not parts:
        raise ValueError(
            f"`encoder` of {trunk} must have stages, received {encoder!r}. Pass a list of layers, a Sequential, or an "
            "encoder with `stages`: tf_mtl.encoders.MLPEncoder, ConvEncoder, RecurrentEncoder, TransformerEncoder, "
            "BackboneEncoder or FeaturePyramid."
        )
    return layer_or_layers("encoder", parts)


def run(argument: str, encoder: Any, x: Any) -> Any:
    """Return the output of a layer or function, or of a list of layers applied in turn.

    Args:
        argument: Name of the trunk's argument that the layers come from, for the message.
        encoder: A layer, a function, or a list of layers; such lists may be nested.
        x: The inputs.

    Raises:
        ValueError: if a layer does not accept its inputs.
    """
    if isinstance(encoder, (list, tuple)):
        for part in encoder:
            x = run(argument, part, x)
        return x
    try:
        return encoder(x)
    except (ValueError, TypeError, AttributeError) as error:
        name = encoder.name if isinstance(encoder, keras.layers.Layer) else encoder
        shapes = keras.tree.map_structure(lambda tensor: tensor.shape, x)
        raise ValueError(
            f"`{argument}`: the layer '{name}' does not fit features of shape {shapes}. Use a layer that accepts this "
            f"shape, or another encoder. The error from Keras: {error}"
        ) from error


def copy(encoder: Encoder, suffix: str, weights: bool = True) -> Any:
    """Return a copy of an encoder whose layers' names end in `suffix`.

    Args:
        encoder: A layer, or a list of layers; a `keras.Sequential` becomes a list of layers.
        suffix: What to append to the layers' names.
        weights: Whether to copy existing weights, too. Otherwise the copy is initialized from scratch.

    Raises:
        ValueError: for a layer with a vocabulary.
    """
    copies: dict[int, keras.layers.Layer] = {}

    def copy_part(part):
        if isinstance(part, (list, tuple)):
            return [copy_part(inner) for inner in part]
        if isinstance(part, keras.Sequential):
            return [copy_part(inner) for inner in part.layers]
        if id(part) not in copies:
            copies[id(part)] = _copy_layer(part, suffix, weights)
        return copies[id(part)]

    return copy_part(encoder)


def layers(encoder: Encoder) -> list[keras.layers.Layer]:
    """Return the layers of an encoder, each once, in the order in which `copy` copies them."""
    if isinstance(encoder, keras.Sequential):
        encoder = encoder.layers
    if isinstance(encoder, (list, tuple)):
        return list({id(layer): layer for part in encoder for layer in layers(part)}.values())
    return [encoder]


def on_features(function: Callable[[list], list], outputs: Sequence[Output]) -> list[Any]:
    """Apply a function from a list of tensors to a list of tensors, feature by feature where outputs are dicts.

    Features that are not floats, such as masks, are taken from the first output.
    """
    first = outputs[0]
    if not isinstance(first, Mapping):
        return function(list(outputs))
    results = {
        key: function([output[key] for output in outputs])
        for key, x in first.items()
        if keras.backend.is_float_dtype(x.dtype)
    }
    number = len(next(iter(results.values())))
    return [{key: results[key][i] if key in results else x for key, x in first.items()} for i in range(number)]


def on_feature(function: Callable[[Any], Any], output: Output) -> Any:
    """Apply a function from a tensor to a tensor to each float feature of an output."""
    return on_features(lambda tensors: [function(tensors[0])], [output])[0]


def _copy_layer(layer, suffix, weights):
    if hasattr(layer, "get_vocabulary"):
        raise ValueError(
            f"The layer '{layer.name}' has a vocabulary, which a copy for each task would lose. Turn words into "
            "indices before the model, in the data pipeline."
        )
    copied = type(layer).from_config({**layer.get_config(), "name": f"{layer.name}_{suffix}"})
    if weights and layer.weights:
        if not copied.built:
            copied.build_from_config(layer.get_build_config())
        copied.set_weights(layer.get_weights())
        for part in copied._flatten_layers():
            if hasattr(part, "finalize_state"):  # Normalization computes with values derived from its weights
                part.finalize_state()
    return copied
