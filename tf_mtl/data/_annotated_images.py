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
    """The files whose annotations do not fit their pictures.

    Attributes:
        clipped: A file for each box that reached beyond its image.
        empty: A file for each box without an area.
        lost: A file for each box of which less than half is left.
        other_sizes: The files whose annotated sizes are not those of their pictures.
    """

    clipped: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    other_sizes: list[str] = field(default_factory=list)

    def limits(self, size: tuple[int, int], annotated: tuple[int, ...] | None, file: str) -> np.ndarray:
        """Return (width, height, width, height) of a picture, and note where its annotated size differs.

        Args:
            size: (height, width) of the picture.
            annotated: The same by its annotation; None where that does not say.
            file: The file, for the remarks.
        """
        if annotated is not None and tuple(annotated) != size:
            self.other_sizes.append(file)
        return np.array([*size[::-1]] * 2, "float32")

    def messages(self) -> list[str]:
        """Return a warning for each kind that occurred."""
        remarks = {
            "boxes reached beyond the image and were clipped": self.clipped,
            "boxes had no area and were left out": self.empty,
            "annotations give another size than the picture has": self.other_sizes,
        }
        return [f"{len(files)} {what}, the first of them in {files[0]}." for what, files in remarks.items() if files]


def within(box: np.ndarray, limits: np.ndarray, file: str, remarks: Remarks) -> np.ndarray | None:
    """Return a box that is clipped to its image; None if it has no area.

    Args:
        box: The box, "xyxy" in pixels.
        limits: (width, height, width, height) of the image.
        file: The file, for the remarks.
        remarks: Where changes are noted.
    """
    clipped = np.clip(box, 0, limits)
    if not (clipped[2:] > clipped[:2]).all():
        remarks.empty.append(file)
        return None
    if np.abs(clipped - box).max() >= 1:  # less is an error of rounding
        remarks.clipped.append(file)
    if np.prod(clipped[2:] - clipped[:2]) < 0.5 * np.prod(box[2:] - box[:2]):
        remarks.lost.append(file)
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
