"""Pictures with boxes, and the labels that follow from the boxes: counts by kind, and the presence of one kind."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import tf_mtl as mtl

SMOKE_ROWS = 16
VIEW = {"vertical_flip": 0.5, "zoom": (0.8, 1.25), "shift": 0.1}
BRIGHTNESS, CONTRAST = 20.0, 1.25  # the largest added value, and factor
MOST = 100  # detections of an image


class Cells(NamedTuple):
    """The data of the recipe.

    Attributes:
        names: The kinds of cells.
        presence: The kind of which the presence is predicted.
        tasks: The tasks.
        preprocessor: From the bytes of pictures to pixels.
        records: The annotated pictures of the parts "train" and "test".
        rows: Their pixels and boxes.
    """

    names: list[str]
    presence: str
    tasks: list[mtl.tasks.Task]
    preprocessor: mtl.images.ImagePreprocessor
    records: dict[str, tf.data.Dataset]
    rows: dict[str, tf.data.Dataset]

    def labelled(self, x: Any, boxes: tf.Tensor, tasks: Sequence[str]) -> tuple[Any, dict[str, tf.Tensor]]:
        """Return a row with the labels of some tasks, which follow from the boxes [M, 5]."""
        counts = tf.reduce_sum(tf.one_hot(tf.cast(boxes[:, 4], tf.int32), len(self.names)), 0)
        is_present = tf.cast(counts[self.names.index(self.presence)] > 0, tf.int32)
        labels = {"cells": boxes, "counts": counts, "presence": is_present}
        return x, {task: labels[task] for task in tasks}

    def test_rows(self, tasks: Sequence[str]) -> tf.data.Dataset:
        """Return the rows of the test part with the labels of some tasks."""
        return self.rows["test"].map(lambda x, y: self.labelled(x, y["cells"], tasks))

    def augment(self, tasks: Sequence[str]) -> Callable[..., Any]:
        """Return a function that changes a row at random, and labels what is then in view for some tasks."""
        view = mtl.images.RandomView(boxes=["cells"], **VIEW)

        def changed(x: tf.Tensor, y: dict[str, tf.Tensor], seed: tf.Tensor) -> tuple[Any, dict]:
            x, y = view(x, y, seed)
            draws = tf.random.stateless_uniform([2], seed + [1, 0], -1.0, 1.0)
            middle = tf.reduce_mean(x)
            x = (x - middle) * CONTRAST ** draws[0] + middle + BRIGHTNESS * draws[1]
            return self.labelled(tf.clip_by_value(x, 0.0, 255.0), y["cells"], tasks)

        return changed


def load(folder: Path, image_size: Sequence[int], presence: str | None, seed: int, smoke: bool = False) -> Cells:
    """Return the pictures and boxes of a folder of Pascal VOC.

    Args:
        folder: The folder.
        image_size: Height and width of the model's images.
        presence: The kind of which the presence is predicted; None for the one whose share of images is nearest 1/2.
        seed: Seed of the division into parts, where the folder has no lists.
        smoke: Whether to take only a few pictures.

    Raises:
        ValueError: for an unknown kind.
    """
    parts = mtl.data.from_voc(folder, seed)
    names = mtl.data.labels_of(parts, "labels")
    last = "test" if "test" in parts else list(parts)[-1]
    test, (first, *others) = parts.pop(last), parts.values()
    for part in others:
        first = first.concatenate(part)
    records = {"train": first, "test": test}
    if smoke:
        records = {part: rows.take(SMOKE_ROWS) for part, rows in records.items()}
    counts = {
        part: np.array([[row.tolist().count(name.encode()) for name in names] for row in _label_lists(rows)])
        for part, rows in records.items()
    }
    shares = (counts["train"] > 0).mean(0)
    presence = presence or names[int(np.argmin(np.abs(shares - 0.5)))]
    if presence not in names:
        raise ValueError(f"--presence must be one of {names}, received {presence!r}.")
    most = max(int(values.sum(1).max()) for values in counts.values())
    means = np.maximum(counts["train"].mean(0), 0.01).tolist()
    tasks: list[mtl.tasks.Task] = [
        mtl.tasks.Detection("cells", names, image_size, most=max(MOST, most)),
        mtl.tasks.Count("counts", names, means, hidden_units=128),
        mtl.tasks.BinaryClassification("presence", [f"no {presence}", presence], hidden_units=128),
    ]
    preprocessor = mtl.images.ImagePreprocessor(image_size)
    rows = {part: mtl.data.encode_images(each, preprocessor, tasks[:1]).cache() for part, each in records.items()}
    return Cells(names, presence, tasks, preprocessor, records, rows)


def _label_lists(records: tf.data.Dataset) -> list[np.ndarray]:
    return [record["labels"] for record in records.as_numpy_iterator()]
