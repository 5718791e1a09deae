"""Two items of Fashion-MNIST on one canvas: one at the top left, one at the bottom right.

The images are those of Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
Learning Algorithms", 2017 (MIT licence); the canvas is MultiMNIST's of Sener and Koltun, "Multi-Task Learning as
Multi-Objective Optimization", NeurIPS 2018. Debian has the images: `apt-get install dataset-fashion-mnist`.
"""

import gzip
from pathlib import Path

import numpy as np

FOLDER = Path("/usr/share/datasets/fashion-mnist")
CLASSES = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
CANVAS = 36
TASKS = ("left", "right")
_FILES = {"train": "train", "test": "t10k"}


def load(part: str, pairs: int, folder: Path | None = None, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return canvases [pairs, 36, 36, 1] and the classes of their items, `{"left": [pairs], "right": [pairs]}`.

    Args:
        part: "train" or "test", the images to draw from.
        pairs: The number of pairs to draw, with replacement.
        folder: Folder with the data set's `*-ubyte.gz` files. None takes the images from TFDS, which downloads them
            once; their order differs, and so do the pairs.
        seed: Seed of the draw.
    """
    images, labels = items(part, folder)
    left, right = np.random.default_rng(seed).integers(len(images), size=(2, pairs))
    return overlay(images[left], images[right]), {"left": labels[left], "right": labels[right]}


def items(part: str, folder: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the images [N, 28, 28] of a part, and their classes [N].

    Args:
        part: "train" or "test".
        folder: See `load`.
    """
    return _from_tfds(part) if folder is None else _from_files(folder, _FILES[part])


def overlay(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return canvases [N, 36, 36, 1] with two images [N, H, W]; where they overlap, the brighter pixel shows."""
    rows, height, width = left.shape
    canvas = np.zeros((rows, CANVAS, CANVAS), left.dtype)
    canvas[:, :height, :width] = left
    np.maximum(canvas[:, -height:, -width:], right, out=canvas[:, -height:, -width:])
    return canvas[..., None]


def _from_files(folder, name):
    images, labels = (_read(folder / f"{name}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
    return images, labels.astype("int32")


def _read(path):
    """Read an idx file of bytes: a magic number whose last byte is the rank, the shape, the values."""
    data = gzip.decompress(path.read_bytes())
    rank = data[3]
    shape = np.frombuffer(data, ">i4", rank, offset=4)
    return np.frombuffer(data, "uint8", offset=4 + 4 * rank).reshape(shape)


def _from_tfds(part):
    import tensorflow_datasets as tfds

    rows = tfds.load("fashion_mnist", split=part, as_supervised=True)
    images, labels = next(iter(tfds.as_numpy(rows.batch(60_000))))
    return images[..., 0], labels.astype("int32")
