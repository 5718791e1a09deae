"""The base of tasks with an output at each pixel."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl._boxes import checked_image_size
from tf_mtl._pyramid import checked_levels
from tf_mtl.images import LocatedImages
from tf_mtl.layers._resize_map import ResizeMap
from tf_mtl.tasks._base import Task
from tf_mtl.tasks._image_labels import file_of, image_field, placed_map


class DenseTask(Task):
    """A task with an output at each pixel of the model's image, [B, H, W, C].

    The head reads one map, or the levels of a feature pyramid: a 3x3 convolution of each, enlarged to the size of the
    finest and summed. A dense layer at each position gives the outputs, which are enlarged to the size of the image.
    Other tasks (see `after` in `Task`) can read the "hidden" features, a map of the size of the finest level.

    Subclasses define what those of `Task` do, for pixels. Labels of weight 0 do not count; weights are [B] for images
    or [B, H, W] for pixels.

    Args:
        name: The task's name.
        image_size: Height H and width W of the model's images.
        levels: The levels of the pyramid, such as ["P2", "P3", "P4"]; None to read the map `features`.
        units: The channels of the convolutions.
        features: The map that the head reads without `levels`.
        **kwargs: See `Task`.

    Raises:
        ValueError: for another size, or unknown levels.

    Reference: Kirillov et al., "Panoptic feature pyramid networks", CVPR 2019.
    """

    outside: float = 0.0  # the label around a letterboxed image

    def __init__(
        self,
        name: str,
        image_size: Sequence[int],
        levels: Sequence[str] | None = None,
        units: int = 64,
        features: str = "map",
        **kwargs: Any,
    ):
        self.levels = None if levels is None else checked_levels(name, levels)
        super().__init__(name, features=features if self.levels is None else self.levels[0], **kwargs)
        self.image_size = checked_image_size(image_size)
        self.units = integer("units", units, 1)

    def read(self, features: Mapping[str, keras.KerasTensor]) -> keras.KerasTensor:
        """Return the map that the output is made from.

        Raises:
            ValueError: if the encoder does not return a map or the levels that the task reads.
        """
        names = [self.features] if self.levels is None else self.levels
        for name in names:
            if name not in features or len(features[name].shape) != 4:
                raise ValueError(
                    f"Task '{self.name}' reads the maps {names}, but the encoder gives {sorted(features)}. Choose an "
                    "encoder of images, or set the task's `levels` or `features`."
                )
        finest = features[names[0]].shape[1:3]
        maps = [self._convolved(features[name], name, finest) for name in names]
        fused = keras.layers.Add(name=f"{self.name}_fused")(maps) if len(maps) > 1 else maps[0]
        return super().read({**features, self.features: fused})

    def _convolved(self, x, level, size):
        name = f"{self.name}_{level}"
        x = keras.layers.Conv2D(
            self.units, 3, padding="same", kernel_regularizer=self.kernel_regularizer, name=f"{name}_convolution"
        )(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
        return ResizeMap(*size, name=f"{name}_enlarged")(x)

    def output_layer(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the outputs [B, H, W, C]."""
        return ResizeMap(*self.image_size, dtype="float32", name=self.name)(self.scores(x))

    def scores(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the outputs at the positions of the map, before they are enlarged."""
        return self.dense(self.output_units, f"{self.name}_scores")(x)

    def encode_image_labels(self, record: Mapping[str, tf.Tensor], image: LocatedImages) -> tf.Tensor:
        """Return the label map [H, W] or [H, W, C] from the record's field with the task's name.

        The field holds the bytes of an image file whose grey values, of 1 to 16 bits, or indices in its palette are the
        labels themselves, or numbers [h, w] or [h, w, C]; in the original image's size. Values are taken from the
        nearest pixel, and `outside` around a letterboxed image and where the field is empty.

        Raises:
            ValueError: if the record lacks the field.
            InvalidArgumentError: while rows are read, for a map of another size than its image, or a file of
                colours without a palette; the message names the record's `file`.
        """
        values = image_field(self.name, record, self.name)
        return placed_map(values, image, self.image_size, self.outside, file_of(record))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "image_size": self.image_size,
            "levels": self.levels,
            "units": self.units,
        }
