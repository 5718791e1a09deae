"""A keras-hub text backbone cut into stages: its embeddings, and each of its Transformer layers."""

import itertools
from collections.abc import Mapping
from typing import Any

import keras

from tf_mtl._keys import PADDING_MASK, SEGMENT_IDS, TOKEN_IDS
from tf_mtl.encoders._tokens import word_starts


def backbone_inputs(backbone: keras.Model, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs that a text backbone expects; missing `segment_ids` are 0."""
    inputs = dict(inputs)
    if SEGMENT_IDS in backbone.input and SEGMENT_IDS not in inputs:
        inputs[SEGMENT_IDS] = keras.ops.zeros_like(inputs[TOKEN_IDS])
    return {name: inputs[name] for name in backbone.input}


def backbone_stages(backbone: keras.Model, name: str) -> list[keras.layers.Layer]:
    """Return the stages of a functional text backbone, which share its weights.

    Args:
        backbone: A backbone whose output is the sequence.
        name: Prefix of the stages' names.

    Raises:
        ValueError: if the backbone has no layers with attention, or if they need more than a sequence and its mask.
    """
    blocks = [layer for layer in backbone.layers if has_attention(layer)]
    if not blocks or not isinstance(backbone.input, Mapping) or PADDING_MASK not in backbone.input:
        raise ValueError(
            f"`backbone` '{backbone.name}' has no stages: only text backbones with attention layers have them. "
            "Pass the trunk a list of layers instead."
        )
    # Cut a copy of the graph with the same layers: cutting changes a graph's config.
    backbone = keras.models.clone_model(backbone, clone_function=lambda layer: layer)
    first = blocks[0]._inbound_nodes[-1].arguments.args[0]
    cuts = [first, *(block._inbound_nodes[-1].output_tensors[0] for block in blocks[:-1]), backbone.output]
    stages = [FirstStage(_part(backbone.input, first), name=f"{name}_stage_0")]
    for index, (before, after) in enumerate(itertools.pairwise(cuts)):
        try:
            part = _part({"sequence": before, PADDING_MASK: backbone.input[PADDING_MASK]}, after)
        except ValueError as error:
            raise ValueError(
                f"`backbone` '{backbone.name}' cannot be cut into stages, because its layer '{blocks[index].name}' "
                "needs more than a sequence and its mask. Pass the trunk a list of layers instead."
            ) from error
        stages.append(NextStage(part, name=f"{name}_stage_{index + 1}"))
    return stages


class _Part(keras.layers.Layer):
    """A layer around a functional part of a backbone."""

    def __init__(self, part: keras.Model, **kwargs: Any):
        super().__init__(**kwargs)
        self.part = part

    def build(self, input_shape: Any) -> None:
        """Do nothing: a backbone creates its variables in its constructor."""

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "part": keras.saving.serialize_keras_object(self.part)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "_Part":
        return cls(**{**config, "part": keras.saving.deserialize_keras_object(config["part"])})


@keras.saving.register_keras_serializable("tf_mtl")
class FirstStage(_Part):
    """From a backbone's inputs to `sequence` [B, S, D] and `mask` [B, S]."""

    def call(self, inputs: Any) -> dict[str, Any]:
        """Return `sequence` and `mask`, and `word_starts` if the inputs have it."""
        mask = keras.ops.cast(inputs[PADDING_MASK], "bool")
        return {"sequence": self.part(backbone_inputs(self.part, inputs)), "mask": mask, **word_starts(inputs)}


@keras.saving.register_keras_serializable("tf_mtl")
class NextStage(_Part):
    """From `sequence` and `mask` to the same."""

    def call(self, inputs: Any) -> dict[str, Any]:
        """Return this part's `sequence`, and the other features unchanged."""
        return {**inputs, "sequence": self.part({"sequence": inputs["sequence"], PADDING_MASK: inputs["mask"]})}


def _part(before, after):
    """Return the part of a functional graph from a dict of tensors to a tensor, with new inputs and the same layers."""
    inputs = {name: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=name) for name, x in before.items()}
    part = keras.Model(list(before.values()), after)
    clone = keras.models.clone_model(part, list(inputs.values()), clone_function=lambda layer: layer)
    return keras.Model(inputs, clone.output)


def has_attention(layer: keras.layers.Layer) -> bool:
    """Return whether a layer contains attention, as Transformer layers do."""
    return any("attention" in type(part).__name__.lower() for part in layer._flatten_layers(include_self=False))
