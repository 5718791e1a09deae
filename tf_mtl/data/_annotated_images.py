"""Records of annotated images, and boxes that do not fit them."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_mtl.data._records import record_dataset


class AnnotatedImage(NamedTuple):
    """A picture with boxes.

    Attributes:
        file: Its path.
        boxes: The boxes, "xyxy" in pixels.
        labels: The objects' names.
        crowds: Which boxes are those of crowds, or of objects too difficult to count.
    """

    file: str
    boxes: list[np.ndarray]
    labels: list[str]
    crowds: list[bool]


@dataclass
class Remarks:
    """The files with boxes that had to be changed.

    Attributes:
        clipped: A file for each box that reached beyond its image.
        empty: A file for each box without an area.
    """

    clipped: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)

    def messages(self) -> list[str]:
        """Return a warning for each kind that occurred."""
        remarks = {
            "reached beyond the image and were clipped": self.clipped,
            "had no area and were left out": self.empty,
        }
        return [
            f"{len(files)} boxes {what}, the first of them in {files[0]}." for what, files in remarks.items() if files
        ]


def within(box: np.ndarray, limits: np.ndarray | None, file: str, remarks: Remarks) -> np.ndarray | None:
    """Return a box that is clipped to its image; None if it has no area.

    Args:
        box: The box, "xyxy" in pixels.
        limits: (width, height, width, height) of the image; None if they are unknown.
        file: The file, for the remarks.
        remarks: Where changes are noted.
    """
    clipped = np.maximum(box, 0) if limits is None else np.clip(box, 0, limits)
    if not (clipped[2:] > clipped[:2]).all():
        remarks.empty.append(file)
        return None
    if (clipped != box).any():
        remarks.clipped.append(file)
    return clipped


def image_records(images: list[AnnotatedImage]) -> tf.data.Dataset:
    """Return records with the fields `file`, `image`, `boxes`, `labels` and `crowds`."""
    fields: dict[str, list[Any]] = {
        "file": [image.file for image in images],
        "boxes": [np.array(image.boxes, "float32").reshape(-1, 4) for image in images],
        "labels": [image.labels for image in images],
        "crowds": [np.array(image.crowds, bool) for image in images],
    }
    return record_dataset(fields).map(lambda row: {**row, "image": tf.io.read_file(row["file"])})
