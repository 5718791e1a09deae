"""From encoded images to a model's input."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl._boxes import checked_image_size
from tf_mtl.images._located import LocatedImages


@keras.saving.register_keras_serializable("tf_mtl")
class ImagePreprocessor(keras.layers.Layer):
    """Turns encoded images [B] (JPEG, PNG, BMP or GIF) into pixels, float32 [B, H, W, C] from 0 to 255, of one size.

    An image is resized with its aspect ratio kept, and centred on a grey ground (letterbox), or stretched. Calling it,
    eagerly or in a graph, returns the pixels. Pass it as the `preprocessor` of `tf_mtl.export.saved_model`, whose
    signatures then take the bytes of image files; boxes in answers are also given in the pixels of the original image.
    Normalisation belongs to the model: `keras.layers.Rescaling` or `Normalization` after its input.

    Args:
        image_size: Height H and width W.
        stretch: Whether to stretch images instead of keeping their aspect ratio.
        channels: 3 for colours, 1 for grey.
        ground: The value of the pixels around a letterboxed image, from 0 to 255.
        image: The name of the model's input, and of the raw input of its export.
        **kwargs: `name`; see `keras.layers.Layer`.

    Raises:
        ValueError: for sizes that are not positive integers, or another number of channels.

    Example:

    >>> preprocessor = mtl.images.ImagePreprocessor((32, 32))
    >>> png = tf.io.encode_png(np.full((20, 40, 3), 255, "uint8"))
    >>> pixels = preprocessor([png.numpy()])[0]
    >>> pixels[0, 0].numpy().tolist(), pixels[16, 16].numpy().tolist()
    ([128.0, 128.0, 128.0], [255.0, 255.0, 255.0])
    """

    def __init__(
        self,
        image_size: Sequence[int],
        stretch: bool = False,
        channels: int = 3,
        ground: float = 128.0,
        image: str = "image",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.image_size = checked_image_size(image_size)
        self.stretch = bool(stretch)
        self.channels = integer("channels", channels, 1)
        if channels not in (1, 3):
            raise ValueError(f"`channels` must be 3 for colours or 1 for grey, received {channels}.")
        self.ground = float(ground)
        self.image = image
        self.built = True

    @property
    def input_signature(self) -> tuple[Any]:
        """The named spec of the encoded images, as that of a `tf.function`."""
        return (tf.TensorSpec([None], tf.string, name=self.image),)

    def inputs(self) -> keras.KerasTensor:
        """Return a new symbolic input for pixels."""
        return keras.Input(self._shape, name=self.image)

    def __call__(self, images: Any) -> tf.Tensor:
        """Return the pixels of encoded images [B]."""
        pixels = tf.TensorSpec(self._shape, tf.float32)
        return tf.map_fn(self.pixels, tf.convert_to_tensor(images, tf.string), fn_output_signature=pixels)

    def pixels(self, image: Any) -> tf.Tensor:
        """Return the pixels [H, W, C] of one image, encoded or as an array [h, w, C]."""
        image = self.decoded(image)
        size, _, offset = self._placed(tf.shape(image)[:2])
        resized = tf.image.resize(tf.cast(image, tf.float32), size, antialias=True)
        after = tf.constant(self.image_size) - offset - size
        padding = tf.concat([tf.stack([offset, after], 1), [[0, 0]]], 0)
        padded = tf.pad(resized - self.ground, padding) + self.ground
        return tf.ensure_shape(tf.clip_by_value(padded, 0.0, 255.0), self._shape)

    def decoded(self, image: Any) -> tf.Tensor:
        """Return one image as an array [h, w, C], in its own size."""
        image = tf.convert_to_tensor(image)
        if image.dtype == tf.string:
            image = tf.io.decode_image(image, channels=3, expand_animations=False)
        if image.shape[-1] == 3 and self.channels == 1:
            return tf.image.rgb_to_grayscale(image)
        return tf.repeat(image, self.channels, -1) if image.shape[-1] == 1 else image

    def locate(self, images: Any) -> LocatedImages:
        """Return where the pixels of encoded images [B] come from."""
        sizes = tf.map_fn(
            self._size, tf.convert_to_tensor(images, tf.string), fn_output_signature=tf.TensorSpec([2], tf.int32)
        )
        return self.placed(sizes)

    def placed(self, sizes: Any) -> LocatedImages:
        """Return where the pixels of images of known sizes come from.

        Args:
            sizes: Height and width of the original images, int32 [B, 2].
        """
        sizes = tf.cast(sizes, tf.int32)
        _, scales, offsets = self._placed(sizes)
        return LocatedImages(sizes, scales[..., ::-1], tf.cast(offsets[..., ::-1], tf.float32))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "image_size": self.image_size,
            "stretch": self.stretch,
            "channels": self.channels,
            "ground": self.ground,
            "image": self.image,
        }

    @property
    def _shape(self):
        return (*self.image_size, self.channels)

    def _size(self, encoded):
        return tf.shape(self.decoded(encoded))[:2]

    def _placed(self, sizes):
        """The size that images take, the factors by which they are resized, and the offsets, all [..., (y, x)]."""
        target = tf.constant(self.image_size, tf.float32)
        factors = target / tf.cast(sizes, tf.float32)
        if self.stretch:
            return tf.zeros_like(sizes) + self.image_size, factors, tf.zeros_like(sizes)
        factor = tf.reduce_min(factors, -1, keepdims=True)
        taken = tf.clip_by_value(tf.cast(tf.round(tf.cast(sizes, tf.float32) * factor), tf.int32), 1, self.image_size)
        return taken, tf.cast(taken, tf.float32) / tf.cast(sizes, tf.float32), (self.image_size - taken) // 2
