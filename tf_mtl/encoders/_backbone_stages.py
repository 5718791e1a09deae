"""A keras-hub text backbone cut into stages: its embeddings, and each of its Transformer layers."""

import itertools
from collections.abc import Mapping
from typing import Any

import keras

from tf_mtl._keys import PADDING_MASK, SEGMENT_IDS, TOKEN_IDS
from tf_mtl.encoders._tokens import word_map


def backbone_inputs(backbone: keras.Model, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of a text backbone; `segment_ids` are 0 where it expects them and they are left out."""
    inputs = dict(inputs)
    if SEGMENT_IDS in backbone.input and SEGMENT_IDS not in inputs:
        inputs[SEGMENT_IDS] = keras.ops.zeros_like(inputs[TOKEN_IDS])
    return {name: inputs[name] for name in backbone.input}


def backbone_stages(backbone: keras.Model, name: str) -> list[keras.layers.Layer]:
    """Return the stages of a functional text backbone that returns its sequence; they share its weights.

    Raises:
        ValueError: if it has no layers with attention, or they need more than a sequence and its mask.
    """
    blocks = [layer for layer in backbone.layers if _has_attention(layer)]
    if not blocks or not isinstance(backbone.input, Mapping) or PADDING_MASK not in backbone.input:
        raise ValueError(
            f"`backbone` '{backbone.name}' has no stages: only text backbones with layers of attention have some. "
            "Give the trunk a list of layers instead."
        )
    backbone = keras.models.clone_model(backbone, clone_function=lambda layer: layer)  # cutting spoils a graph's config
    first = blocks[0]._inbound_nodes[-1].arguments.args[0]
    cuts = [first, *(block._inbound_nodes[-1].output_tensors[0] for block in blocks[:-1]), backbone.output]
    stages = [FirstStage(_part(backbone.input, first), name=f"{name}_stage_0")]
    for place, (before, after) in enumerate(itertools.pairwise(cuts)):
        try:
            part = _part({"sequence": before, PADDING_MASK: backbone.input[PADDING_MASK]}, after)
        except ValueError as error:
            raise ValueError(
                f"`backbone` '{backbone.name}' cannot be cut into stages, because its layer '{blocks[place].name}' "
                "needs more than a sequence and its mask. Give the trunk a list of layers instead."
            ) from error
        stages.append(NextStage(part, name=f"{name}_stage_{place + 1}"))
    return stages


class _Part(keras.layers.Layer):
    """A layer around a functional part of a backbone, which has its variables when it is made."""

    def __init__(self, part: keras.Model, **kwargs):
        super().__init__(**kwargs)
        self.part = part

    def build(self, input_shape):
        """Do nothing."""

    def get_config(self):
        return {**super().get_config(), "part": keras.saving.serialize_keras_object(self.part)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "part": keras.saving.deserialize_keras_object(config["part"])})


@keras.saving.register_keras_serializable("tf_mtl")
class FirstStage(_Part):
    """From a backbone's inputs to `sequence` [B, S, D] and `mask` [B, S]."""

    def call(self, inputs):
        """Return `sequence` and `mask`, and `word_starts` if they are given."""
        mask = keras.ops.cast(inputs[PADDING_MASK], "bool")
        return {"sequence": self.part(backbone_inputs(self.part, inputs)), "mask": mask, **word_map(inputs)}


@keras.saving.register_keras_serializable("tf_mtl")
class NextStage(_Part):
    """From `sequence` and `mask` to the same."""

    def call(self, inputs):
        """Return the `sequence` of this part, and the `mask`."""
        return {**inputs, "sequence": self.part({"sequence": inputs["sequence"], PADDING_MASK: inputs["mask"]})}


def _part(before, after):
    """The functional model from a dict of tensors to a tensor, on inputs of its own, with the same layers."""
    inputs = {name: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=name) for name, x in before.items()}
    part = keras.Model(list(before.values()), after)
    made = keras.models.clone_model(part, list(inputs.values()), clone_function=lambda layer: layer)
    return keras.Model(inputs, made.output)


def _has_attention(layer):
    return any("attention" in type(part).__name__.lower() for part in layer._flatten_layers(include_self=False))
