"""The outputs of a model's layers, as features that heads read."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._keys import MASK, PADDING_MASK, SEQUENCE, WORD_STARTS
from tf_mtl._model import MultiTaskModel
from tf_mtl._names import nearest
from tf_mtl._optional_inputs import OptionalInputs
from tf_mtl._shapes import keras_mask
from tf_mtl.analysis._head_inputs import head_inputs
from tf_mtl.analysis._intercepted import intercepted
from tf_mtl.encoders import BackboneEncoder
from tf_mtl.encoders._backbone_stages import has_attention
from tf_mtl.encoders._staged import StagedEncoder, flat
from tf_mtl.layers._attach_mask import AttachMask
from tf_mtl.layers._first_subwords import FirstSubwords
from tf_mtl.layers._mask_scores import MaskScores
from tf_mtl.layers._masked_mean import MaskedMean, masked_mean

Features = dict[str, tf.Tensor]


def find_layers(model: MultiTaskModel, names: Sequence[str] | None) -> list[keras.layers.Layer]:
    """Return the layers of these names, nested ones too; by default stages of encoders, and what heads read.

    Raises:
        ValueError: for an unknown name, or by default for a model without task objects.
    """
    layers = list({id(layer): layer for layer in model._flatten_layers(include_self=False)}.values())
    if names is None:
        chosen = [stage for layer in layers for stage in _stages(layer)]
        chosen += [_read_layer(read.features) for read in head_inputs(model).values()]
        return list({id(layer): layer for layer in chosen}.values())
    by_name = {layer.name: layer for layer in reversed(layers)}
    unknown = next((name for name in names if name not in by_name), None)
    if unknown is not None:
        raise ValueError(
            f"`layers` must be names of the model's layers, received '{unknown}'.{nearest(unknown, by_name)} See "
            "`model.summary(expand_nested=True)`."
        )
    return [by_name[name] for name in names]


def layer_outputs(model: MultiTaskModel, layers: Sequence[keras.layers.Layer]) -> Callable[[Any], dict[str, Features]]:
    """Return a function from inputs to `{layer: features}` in inference mode, with masks and means of sequences.

    Where a layer is called several times and the calls give the same features, they are `<layer>/0`, `<layer>/1`, ...
    """
    further = _masks_and_word_starts(model)
    forward = OptionalInputs(model.input, {**further, "outputs": model.output})

    def outputs(inputs):
        calls: dict[str, list[Features]] = {layer.name: [] for layer in layers}

        def record(layer, _, output):
            calls[layer.name] += [_named(part) for part in (output if isinstance(output, (list, tuple)) else [output])]
            return output

        with intercepted([(layer, "call") for layer in layers], record):
            values = forward(inputs, training=False)
        padding = [inputs[PADDING_MASK]] if isinstance(inputs, Mapping) and PADDING_MASK in inputs else []
        by_name = {name: features for layer, parts in calls.items() for name, features in _merged(layer, parts).items()}
        return {
            name: _completed(features, [*values["masks"], *padding], values["word_starts"])
            for name, features in by_name.items()
        }

    return outputs


def _stages(layer):
    """The last layer of each stage of an encoder but the last one, and the encoder; none for other layers."""
    if isinstance(layer, StagedEncoder):
        return [*(list(flat([stage]))[-1] for stage in layer.stages[:-1]), layer]
    if isinstance(layer, BackboneEncoder):
        return [*[block for block in layer.backbone.layers if has_attention(block)][:-1], layer]
    return []


def _read_layer(tensor):
    """The layer that computes a tensor or, of a mean over positions, the sequence or map."""
    operation, node_index, _ = tensor._keras_history
    if isinstance(operation, (MaskedMean, keras.layers.GlobalAveragePooling2D)):
        return _read_layer(operation._inbound_nodes[node_index].input_tensors[0])
    return operation


def _masks_and_word_starts(model):
    """The symbolic masks of sequences [B, S], and the symbolic tensors that mark where words start."""
    masks: dict[int, keras.KerasTensor] = {}
    word_starts: dict[int, keras.KerasTensor] = {}
    for node in itertools.chain(*model._nodes_by_depth.values()):
        marks = node.input_tensors[1:2]
        if isinstance(node.operation, FirstSubwords):
            word_starts |= {id(x): x for x in marks}
        elif isinstance(node.operation, (AttachMask, MaskedMean, MaskScores)):
            masks |= {id(x): x for x in marks if not isinstance(x._keras_history.operation, FirstSubwords)}
    return {"masks": list(masks.values()), "word_starts": list(word_starts.values())}


def _named(output):
    """The output of a layer as features; none for a tensor of integers or another rank."""
    if isinstance(output, Mapping):
        return dict(output)
    names = {2: "pooled", 3: SEQUENCE, 4: "map"}
    rank = len(output.shape)
    if rank not in names or not output.dtype.is_floating:
        return {}
    mask = keras_mask(output)
    return {names[rank]: output} if rank != 3 or mask is None else {SEQUENCE: output, MASK: mask}


def _merged(layer, calls):
    """The features of all calls of a layer together, or of each where two give the same feature."""
    keys = [key for features in calls for key in features]
    if len(set(keys)) == len(keys):
        return {layer: {key: x for features in calls for key, x in features.items()}}
    return {f"{layer}/{index}": features for index, features in enumerate(calls)}


def _completed(features, masks, word_starts):
    """Features with the mask of their sequence and where its words start, from those of the same shape, and a mean."""
    if SEQUENCE in features:
        steps = features[SEQUENCE].shape[1]
        for key, candidates in ((MASK, masks), (WORD_STARTS, word_starts)):
            match = next((x for x in candidates if x.shape[1] == steps), None)
            if match is not None and key not in features:
                features = {**features, key: match}
    if "pooled" in features or not features.keys() & {SEQUENCE, "map"}:
        return features
    if SEQUENCE in features:
        mask = features.get(MASK)
        pooled = tf.reduce_mean(features[SEQUENCE], 1) if mask is None else masked_mean(features[SEQUENCE], mask)
    else:
        pooled = tf.reduce_mean(features["map"], [1, 2])
    return {**features, "pooled": pooled}
