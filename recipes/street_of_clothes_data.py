"""Scenes of one to six items of Fashion-MNIST, of sizes from 20 to 60 pixels, that cover each other.

The items are real, the scenes are not: each is put together at random. Items are drawn one over the other, from the
farthest to the nearest, and a nearer one is larger; where an item's own pixel is dark, what is behind it shows.
"""

from pathlib import Path
from typing import NamedTuple

import fashion_data
import numpy as np
import tensorflow as tf

SIZE = (128, 128)
CLASSES = ("ground", *fashion_data.CLASSES)
MOST = 6
SMALLEST, LARGEST = 20, 60
DARK = 20  # pixels of at most this brightness are not part of an item


class Scenes(NamedTuple):
    """Scenes and their labels by task.

    Attributes:
        images: Pixels from 0 to 255, uint8 [N, 128, 128, 1].
        labels: `items`, boxes and classes [N, 6, 5]; `parts`, the class of each pixel, 0 for the ground,
            [N, 128, 128]; `number`, that of items [N]; `nearest`, the class of the nearest one [N]; `depth`, 1 for
            pixels of the nearest item, 2 for those of the next and so on, 0 for the ground, [N, 128, 128].
    """

    images: np.ndarray
    labels: dict[str, np.ndarray]


def load(part: str, scenes: int, folder: Path | None, seed: int) -> Scenes:
    """Return scenes of items of a part of Fashion-MNIST.

    Args:
        part: "train" or "test".
        scenes: The number of scenes.
        folder: The folder of Fashion-MNIST's files; None for TFDS.
        seed: Seed of the scenes.
    """
    items, classes = fashion_data.items(part, folder)
    rng = np.random.default_rng(seed)
    images = np.zeros((scenes, *SIZE, 1), "uint8")
    labels = {
        "items": np.full((scenes, MOST, 5), -1, "float32"),
        "parts": np.zeros((scenes, *SIZE), "int32"),
        "number": rng.integers(1, MOST + 1, scenes).astype("int32"),
        "nearest": np.zeros(scenes, "int32"),
        "depth": np.zeros((scenes, *SIZE), "float32"),
    }
    for scene in range(scenes):
        number = labels["number"][scene]
        chosen = rng.integers(len(items), size=number)
        _draw(images[scene, ..., 0], {task: values[scene] for task, values in labels.items()}, items, chosen, rng)
        of_items = classes[chosen]
        labels["items"][scene, :number, 4] = of_items
        labels["nearest"][scene] = of_items[-1]
        labels["parts"][scene] = np.concatenate([[0], 1 + of_items])[labels["parts"][scene]]
    return Scenes(images, labels)


def _draw(canvas, labels, items, chosen, rng):
    """Draw items over each other; `parts` holds the number of the item of each pixel, counted from 1."""
    sizes = np.sort(rng.integers(SMALLEST, LARGEST + 1, len(chosen)))
    for index, (item, size) in enumerate(zip(chosen, sizes.tolist(), strict=True)):
        resized = tf.image.resize(items[item][..., None].astype("float32"), (size, size)).numpy()[..., 0]
        top, left = rng.integers(0, np.array(SIZE) - size + 1)
        window = slice(top, top + size), slice(left, left + size)
        is_item = resized > DARK
        canvas[window][is_item] = resized[is_item].astype("uint8")
        labels["parts"][window][is_item] = index + 1
        labels["depth"][window][is_item] = len(chosen) - index
        rows, columns = np.nonzero(is_item)
        box = [left + columns.min(), top + rows.min(), left + columns.max() + 1, top + rows.max() + 1]
        labels["items"][index, :4] = box
