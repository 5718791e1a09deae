"""A pretrained keras-hub backbone as an encoder."""

import functools
from collections.abc import Mapping
from typing import Any

import keras

from tf_mtl._keys import PADDING_MASK
from tf_mtl.encoders._backbone_stages import backbone_inputs, backbone_stages
from tf_mtl.encoders._tokens import word_map
from tf_mtl.layers._masked_mean import masked_mean


@keras.saving.register_keras_serializable("tf_mtl")
class BackboneEncoder(keras.layers.Layer):
    """Any keras-hub text or image backbone.

    A text backbone turns its inputs (`token_ids`, `padding_mask`, and `segment_ids`, which are 0 when left
    out) into `sequence` [B, S, D], `pooled` [B, D] and `mask` [B, S]; `word_starts` among the inputs, which tell where
    words begin, become a feature for `tf_mtl.tasks.Tagging`. An image backbone turns images [B, H, W, 3] into
    `map` [B, h, w, D] and `pooled` [B, D], its mean over positions.

    Args:
        backbone: A `keras_hub.models.Backbone`, from a preset or not.
        pooling: What a text's `pooled` is: "mean" over its tokens, or "first", its first token.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`; `trainable=False` freezes the backbone.

    Raises:
        ValueError: for another `pooling`.

    Example:

    >>> import keras_hub
    >>> backbone = keras_hub.models.BertBackbone(50, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
    >>> encoder = mtl.encoders.BackboneEncoder(backbone)
    >>> ids = np.array([[2, 7, 3, 0]])
    >>> encoder({"token_ids": ids, "padding_mask": ids != 0})["pooled"].shape
    TensorShape([1, 8])
    """

    def __init__(
        self,
        backbone: keras.Model,
        pooling: str = "mean",
        name: str = "backbone_encoder",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        if pooling not in ("mean", "first"):
            raise ValueError(f"`pooling` must be 'mean' or 'first', received {pooling!r}.")
        if hasattr(backbone, "operations") and isinstance(
            backbone.output, Mapping
        ):  # without what only other outputs need, and would stay untrained
            backbone = keras.Model(backbone.input, backbone.output["sequence_output"], name=backbone.name)
        self.backbone = backbone
        self.pooling = pooling
        if not self.trainable:
            self.backbone.trainable = True  # setting it to what it is does nothing, even to layers made later
            self.backbone.trainable = False

    def build(self, input_shape):
        """Do nothing: a backbone has its variables when it is made."""

    def call(self, inputs: Any, training=None):
        """Return the features of the backbone's inputs."""
        if isinstance(inputs, Mapping):
            return self._text(inputs, training)
        x = self.backbone(inputs, training=training)
        return {"pooled": keras.ops.mean(x, axis=(1, 2)), "map": x}

    @functools.cached_property
    def stages(self) -> list[keras.layers.Layer]:
        """A text backbone's embeddings and Transformer layers, which share its weights.

        What they give `pooled` from is the mean over tokens, whatever `pooling`.

        Raises:
            ValueError: if it has no layers with attention, or they need more than a sequence and its mask.
        """
        return backbone_stages(self.backbone, self.name)

    def _text(self, inputs, training):
        x = self.backbone(backbone_inputs(self.backbone, inputs), training=training)
        mask = keras.ops.cast(inputs[PADDING_MASK], "bool")
        pooled = x[:, 0] if self.pooling == "first" else masked_mean(x, mask)
        return {"pooled": pooled, "sequence": x, "mask": mask, **word_map(inputs)}

    def get_config(self):
        return {
            **super().get_config(),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "pooling": self.pooling,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "backbone": keras.saving.deserialize_keras_object(config["backbone"])})
