"""A backbone of keras-hub or keras.applications as an encoder."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._keys import PADDING_MASK, TOKEN_TABLE
from tf_mtl.encoders._backbone_stages import backbone_inputs, backbone_stages
from tf_mtl.encoders._image_levels import with_levels
from tf_mtl.encoders._image_stages import image_stages
from tf_mtl.encoders._named_backbone import named_backbone
from tf_mtl.encoders._tokens import word_starts
from tf_mtl.layers._masked_mean import masked_mean


def _last(sequence: Any, mask: Any) -> Any:
    """Return the vectors [B, D] at the last positions of a mask; at the first where it has none."""
    last = tf.reduce_max(tf.where(mask, tf.range(tf.shape(mask)[1]), 0), 1)
    return tf.gather(sequence, last, batch_dims=1)


_POOLED: dict[str, Callable[[Any, Any], Any]] = {"mean": masked_mean, "first": lambda x, mask: x[:, 0], "last": _last}


def _of_needed_outputs(backbone: keras.Model) -> keras.Model:
    """Return a functional backbone with the outputs that features need; those of other layers would stay untrained."""
    if isinstance(backbone.output, Mapping):
        is_text = "sequence_output" in backbone.output
        return (
            keras.Model(backbone.input, backbone.output["sequence_output"], name=backbone.name) if is_text else backbone
        )
    return with_levels(backbone) if _reads_images(backbone) and len(backbone.output.shape) == 4 else backbone


def _reads_images(backbone: keras.Model) -> bool:
    return isinstance(backbone.input, keras.KerasTensor) and len(backbone.input.shape) == 4


def _freeze(layer: keras.layers.BatchNormalization) -> None:
    layer.trainable = False  # then Keras normalises with the moving statistics


def _synchronize(layer: keras.layers.BatchNormalization) -> None:
    layer.synchronized = True


_NORMALIZATIONS: dict[str, Callable[[Any], None]] = {
    "train": lambda layer: None,
    "synchronize": _synchronize,
    "freeze": _freeze,
}


@keras.saving.register_keras_serializable("tf_mtl")
class BackboneEncoder(keras.layers.Layer):
    """A keras-hub text or image backbone, or an image model of `keras.applications` without its top, as an encoder.

    A text backbone is called with a dict of `token_ids`, `padding_mask` and, if it needs them, `segment_ids`, which are
    0 by default. It returns `sequence` [B, S, D], `pooled` [B, D] and `mask` [B, S]. If the inputs contain
    `word_starts`, which marks each word's first token, it becomes a feature for `tf_mtl.tasks.Tagging`.

    An image backbone is called with images [B, H, W, 3]. It returns `map` [B, h, w, D], `pooled` [B, D], which is the
    mean over positions, and levels of a feature pyramid, such as `P3`, `P4` and `P5`, for
    `tf_mtl.encoders.FeaturePyramid`. These are the ones that a backbone of keras-hub names, and otherwise the last maps
    of their sizes, in a model with an input of known size. Backbones that return a sequence of patches [B, N, D] give
    `sequence` and `pooled`.

    Args:
        backbone: A `keras_hub.models.Backbone` or a functional `keras.Model`, pretrained or not.
        pooling: How `pooled` is computed from a text: "mean" is the mean over its tokens, "first" its first token, and
            "last" its last one, for decoder-only backbones such as GPT-2, whose tokens read only those before them.
        token_table: Whether the table of token embeddings [V, D] is a feature, `token_table`, for
            `tf_mtl.tasks.MaskedLM`. Trunks that do not call the encoder as a whole leave it out.
        normalization: What batch normalisation does in training: "train" uses the batch of each replica, "synchronize"
            that of all replicas, and "freeze" the moving statistics, which pretrained backbones and small batches need.
        stage_ends: The names of layers after which an image backbone is cut into `stages`; by default the last layers
            of its levels.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`; `trainable=False` freezes the backbone.

    Raises:
        ValueError: for another `pooling` or `normalization`, or a backbone without a layer `token_embedding` if
            `token_table` is True.

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
        normalization: str = "train",
        stage_ends: Sequence[str] = (),
        name: str = "backbone_encoder",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        if pooling not in _POOLED:
            raise ValueError(f"`pooling` must be one of {list(_POOLED)}, received {pooling!r}.")
        if normalization not in _NORMALIZATIONS:
            raise ValueError(f"`normalization` must be one of {list(_NORMALIZATIONS)}, received {normalization!r}.")
        if hasattr(backbone, "operations"):
            backbone = _of_needed_outputs(backbone)
        self.backbone = backbone
        self.normalization = normalization
        for layer in backbone._flatten_layers(include_self=False):
            if isinstance(layer, keras.layers.BatchNormalization):
                _NORMALIZATIONS[normalization](layer)
        self.pooling = pooling
        self.token_table = token_table
        self.stage_ends = list(stage_ends)
        if token_table:
            backbone.get_layer("token_embedding")  # raises where there is none
        if not self.trainable:
            self.backbone.trainable = True  # setting False twice does nothing, even to layers added in between
            self.backbone.trainable = False

    @classmethod
    def from_name(
        cls, name: str, image_size: tuple[int, int] | None = None, weights: bool = True, **kwargs: Any
    ) -> "BackboneEncoder":
        """Return an encoder with a backbone of `keras.applications` or keras-hub.

        Pixels must be as the backbone expects them: those of EfficientNet and MobileNetV3 from 0 to 255, those of most
        others as `keras.applications.<model>.preprocess_input` returns them.

        Args:
            name: A model of `keras.applications`, such as "EfficientNetB0", or a preset of keras-hub, such as
                "bert_tiny_en_uncased", its handle or its folder.
            image_size: (height, width) of the images, which models of `keras.applications` need for their levels; None
                for the model's default.
            weights: Whether to load the pretrained weights.
            **kwargs: See `BackboneEncoder`.

        Raises:
            ValueError: for an unknown name, or an image size for a backbone of texts.

        Example:

        >>> encoder = mtl.encoders.BackboneEncoder.from_name("MobileNetV3Small", (64, 96), weights=False)
        >>> encoder(np.ones((1, 64, 96, 3)))["P4"].shape
        TensorShape([1, 4, 6, 288])
        """
        return cls(named_backbone(name, image_size, weights), **kwargs)

    def build(self, input_shape: Any) -> None:
        """Do nothing: a backbone creates its variables in its constructor."""

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Return the features of the backbone's inputs."""
        if isinstance(inputs, Mapping):
            return self._text(inputs, training)
        x = self.backbone(inputs, training=training)
        if isinstance(x, Mapping):
            return {"pooled": keras.ops.mean(x["map"], axis=(1, 2)), **x}
        if len(x.shape) == 3:
            return {"pooled": keras.ops.mean(x, axis=1), "sequence": x}
        return {"pooled": keras.ops.mean(x, axis=(1, 2)), "map": x}

    @functools.cached_property
    def stages(self) -> list[keras.layers.Layer]:
        """The backbone in parts that share its weights: of texts, the embeddings and each Transformer layer.

        Parts of an image backbone are models from a map to a map, and its levels are not features: the last map is the
        only one. Trunks compute `pooled` as the mean over tokens or positions, whatever the value of `pooling`.

        Raises:
            ValueError: for a text backbone without layers with attention, or whose layers need more than a sequence and
                its mask; and for an image backbone that cannot be cut there.
        """
        if hasattr(self.backbone, "operations") and _reads_images(self.backbone):
            return image_stages(self.backbone, self.stage_ends, self.name)
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
            "normalization": self.normalization,
            "stage_ends": self.stage_ends,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "BackboneEncoder":
        return cls(**{**config, "backbone": keras.saving.deserialize_keras_object(config["backbone"])})
