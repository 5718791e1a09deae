"""A keras-hub backbone as an encoder."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._keys import PADDING_MASK, TOKEN_TABLE
from tf_mtl.encoders._backbone_stages import backbone_inputs, backbone_stages
from tf_mtl.encoders._tokens import word_starts
from tf_mtl.layers._masked_mean import masked_mean


def _last(sequence: Any, mask: Any) -> Any:
    """Return the vectors [B, D] at the last positions of a mask; at the first where it has none."""
    last = tf.reduce_max(tf.where(mask, tf.range(tf.shape(mask)[1]), 0), 1)
    return tf.gather(sequence, last, batch_dims=1)


_POOLED: dict[str, Callable[[Any, Any], Any]] = {"mean": masked_mean, "first": lambda x, mask: x[:, 0], "last": _last}


@keras.saving.register_keras_serializable("tf_mtl")
class BackboneEncoder(keras.layers.Layer):
    """A keras-hub text or image backbone as an encoder.

    A text backbone is called with a dict of `token_ids`, `padding_mask` and, if it needs them, `segment_ids`, which are
    0 by default. It returns `sequence` [B, S, D], `pooled` [B, D] and `mask` [B, S]. If the inputs contain
    `word_starts`, which marks each word's first token, it becomes a feature for `tf_mtl.tasks.Tagging`.

    An image backbone is called with images [B, H, W, 3]. It returns `map` [B, h, w, D], and `pooled` [B, D], which is
    the mean over positions.

    Args:
        backbone: A `keras_hub.models.Backbone`, pretrained or not.
        pooling: How `pooled` is computed from a text: "mean" is the mean over its tokens, "first" its first token, and
            "last" its last one, for decoder-only backbones such as GPT-2, whose tokens read only those before them.
        token_table: Whether the table of token embeddings [V, D] is a feature, `token_table`, for
            `tf_mtl.tasks.MaskedLM`. Trunks that do not call the encoder as a whole leave it out.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`; `trainable=False` freezes the backbone.

    Raises:
        ValueError: for another `pooling`, or a backbone without a layer `token_embedding` if `token_table` is True.

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
        token_table: bool = False,
        name: str = "backbone_encoder",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        if pooling not in _POOLED:
            raise ValueError(f"`pooling` must be one of {list(_POOLED)}, received {pooling!r}.")
        if hasattr(backbone, "operations") and isinstance(backbone.output, Mapping):
            # Leave out layers that only other outputs need: they would stay untrained.
            backbone = keras.Model(backbone.input, backbone.output["sequence_output"], name=backbone.name)
        self.backbone = backbone
        self.pooling = pooling
        self.token_table = token_table
        if token_table:
            backbone.get_layer("token_embedding")  # raises where there is none
        if not self.trainable:
            self.backbone.trainable = True  # setting False twice does nothing, even to layers added in between
            self.backbone.trainable = False

    def build(self, input_shape: Any) -> None:
        """Do nothing: a backbone creates its variables in its constructor."""

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Return the features of the backbone's inputs."""
        if isinstance(inputs, Mapping):
            return self._text(inputs, training)
        x = self.backbone(inputs, training=training)
        return {"pooled": keras.ops.mean(x, axis=(1, 2)), "map": x}

    @functools.cached_property
    def stages(self) -> list[keras.layers.Layer]:
        """A text backbone's embeddings and Transformer layers, which share its weights.

        Trunks compute `pooled` from their output as the mean over tokens, whatever the value of `pooling`.

        Raises:
            ValueError: if the backbone has no layers with attention, or if they need more than a sequence and its mask.
        """
        return backbone_stages(self.backbone, self.name)

    def _text(self, inputs, training):
        x = self.backbone(backbone_inputs(self.backbone, inputs), training=training)
        mask = keras.ops.cast(inputs[PADDING_MASK], "bool")
        features = {"pooled": _POOLED[self.pooling](x, mask), "sequence": x, "mask": mask, **word_starts(inputs)}
        if self.token_table:
            table = self.backbone.get_layer("token_embedding").embeddings
            features[TOKEN_TABLE] = tf.identity(table)
        return features

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "pooling": self.pooling,
            "token_table": self.token_table,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "BackboneEncoder":
        return cls(**{**config, "backbone": keras.saving.deserialize_keras_object(config["backbone"])})
