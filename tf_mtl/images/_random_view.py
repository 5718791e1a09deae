"""Random views of images, with what is labelled in them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl._boxes import areas
from tf_mtl._names import nearest


class RandomView:
    """Flips, zooms and shifts an image at random, and moves its boxes, label maps and points with it.

    Pass it to `tf_mtl.data.mix(augment=)`; it takes a row's inputs and labels and a seed. Boxes are clipped to the
    view. Of an object of which less than `visible` of the area remains, the box becomes a crowd, which teaches nothing;
    one without any becomes padding. Points outside the view are -1, as are missing ones. A flip does not exchange the
    names of left and right points. Names that a row does not have are left out, since sources may label different
    tasks.

    Args:
        image: The name of the input with the pixels, [H, W, C], in a dict of inputs; None if they are the only input.
        boxes: The names of labels that are boxes, [M, 5], "xyxy" in pixels.
        maps: `{name: value around the image}` of labels that are maps, [H, W] or [H, W, C]: 255 for
            `tf_mtl.tasks.Segmentation`, 0 for `Depth`.
        normals: The names of labels that are maps of directions, [H, W, 3], for `tf_mtl.tasks.Normals`: a flip also
            turns the directions, and they are 0 around the image.
        points: The names of labels that are points, (x, y), [K, 2].
        horizontal_flip: The probability of a flip of left and right.
        vertical_flip: The probability of a flip of top and bottom.
        zoom: The range of the factor by which things become larger, drawn on a logarithmic scale.
        shift: The largest shift, as a fraction of height and width.
        visible: The smallest part of a box that is still an object.
        ground: The value of pixels around the image.

    Raises:
        ValueError: for numbers out of range.

    Example:

    >>> view = mtl.images.RandomView(boxes=["cells"], horizontal_flip=1.0, zoom=(1.0, 1.0), shift=0.0)
    >>> labels = {"cells": np.array([[2.0, 1.0, 6.0, 5.0, 0.0]], "float32")}
    >>> view(np.zeros((10, 20, 3), "float32"), labels, seed=[1, 2])[1]["cells"].numpy().tolist()
    [[14.0, 1.0, 18.0, 5.0, 0.0]]
    """

    def __init__(
        self,
        image: str | None = None,
        boxes: Sequence[str] = (),
        maps: Mapping[str, float] | None = None,
        normals: Sequence[str] = (),
        points: Sequence[str] = (),
        horizontal_flip: float = 0.5,
        vertical_flip: float = 0.0,
        zoom: tuple[float, float] = (0.8, 1.25),
        shift: float = 0.1,
        visible: float = 0.4,
        ground: float = 128.0,
    ):
        self.image, self.maps = image, dict(maps or {})
        self.boxes, self.normals, self.points = map(_names, (boxes, normals, points))
        self.flips = [
            in_range("horizontal_flip", horizontal_flip, 0, 1),
            in_range("vertical_flip", vertical_flip, 0, 1),
        ]
        self.zoom = [in_range("zoom", limit, 0, open_low=True) for limit in zoom]
        self.shift = in_range("shift", shift, 0, 1)
        self.visible = in_range("visible", visible, 0, 1)
        self.ground = float(ground)

    def check_tasks(self, tasks: Iterable[str]) -> None:
        """Raise for names of labels that are not among those of a mixture.

        Raises:
            ValueError: naming the nearest task.
        """
        for name in (*self.boxes, *self.maps, *self.normals, *self.points):
            if name not in tasks:
                raise ValueError(
                    f"`augment` moves the labels of '{name}', but the sources have those of {sorted(tasks)}."
                    f"{nearest(name, tasks)} The names are those of tasks."
                )

    def __call__(self, x: Any, y: Mapping[str, Any], seed: Any) -> tuple[Any, dict[str, Any]]:
        """Return the inputs and labels of a view.

        Args:
            x: The inputs.
            y: The labels by task.
            seed: An integer seed, [2].
        """
        pixels = tf.cast(x if self.image is None else x[self.image], tf.float32)
        size = tf.cast(tf.shape(pixels)[1::-1], tf.float32)  # (width, height)
        draws = tf.random.stateless_uniform([5], seed)
        sign = tf.where(draws[:2] < self.flips, -1.0, 1.0)
        low, high = self.zoom
        factor = sign * low * (high / low) ** draws[2]
        centre = size / 2
        offset = centre - factor * centre + (2 * draws[3:] - 1) * self.shift * size  # a point p moves to f p + o
        moved_pixels = _moved(pixels - self.ground, factor, offset, "BILINEAR", 0.0) + self.ground
        x = moved_pixels if self.image is None else {**x, self.image: moved_pixels}
        y = dict(y)
        for name in y.keys() & set(self.boxes):
            y[name] = self._moved_boxes(tf.cast(y[name], tf.float32), factor, offset, size)
        for name in y.keys() & self.maps.keys():
            y[name] = _moved_map(tf.convert_to_tensor(y[name]), factor, offset, float(self.maps[name]))
        for name in y.keys() & set(self.normals):
            moved = _moved_map(tf.cast(y[name], tf.float32), factor, offset, 0.0)
            y[name] = moved * tf.concat([tf.sign(factor), [1.0]], 0)
        for name in y.keys() & set(self.points):
            points = tf.cast(y[name], tf.float32)
            moved = points * factor + offset
            inside = tf.reduce_all((points >= 0) & (moved >= 0) & (moved <= size), -1, keepdims=True)
            y[name] = tf.where(inside, moved, -1.0)
        return x, y

    def _moved_boxes(self, labels, factor, offset, size):
        corners = tf.stack([labels[:, :2] * factor + offset, labels[:, 2:4] * factor + offset])
        moved = tf.concat([tf.reduce_min(corners, 0), tf.reduce_max(corners, 0)], 1)
        clipped = tf.clip_by_value(moved, 0.0, tf.tile(size, [2]))
        classes = labels[:, 4]
        part = tf.math.divide_no_nan(areas(clipped), areas(moved))
        classes = tf.where((part < self.visible) & (classes >= 0), -2 - classes, classes)
        classes = tf.where(areas(clipped) > 0, classes, -1.0)
        clipped = tf.where(classes[:, None] == -1, -1.0, clipped)
        return tf.concat([clipped, classes[:, None]], 1)


def _names(names):
    return [names] if isinstance(names, str) else list(names)


def _moved_map(values, factor, offset, outside):
    """A map, by its nearest pixels, with a value around the image."""
    as_image = tf.cast(tf.reshape(values, [*values.shape[:2], -1]), tf.float32)
    moved = _moved(as_image - outside, factor, offset, "NEAREST", 0.0) + outside
    return tf.reshape(tf.cast(moved, values.dtype), values.shape)


def _moved(image, factor, offset, interpolation, fill):
    """An image whose points p have moved to factor * p + offset."""
    inverse = 1 / factor
    shift = -offset * inverse + 0.5 * inverse - 0.5  # pixels have their centres at 1/2
    zero = tf.zeros([])
    rows = [inverse[0], zero, shift[0], zero, inverse[1], shift[1], zero, zero]
    return tf.ensure_shape(
        tf.raw_ops.ImageProjectiveTransformV3(
            images=image[None],
            transforms=tf.stack(rows)[None],
            output_shape=tf.shape(image)[:2],
            fill_value=fill,
            interpolation=interpolation,
            fill_mode="CONSTANT",
        )[0],
        image.shape,
    )
