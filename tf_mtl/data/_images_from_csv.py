"""Annotated images in a CSV file with a line for each box."""

import os
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mtl._boxes import checked_format, is_relative, to_xyxy
from tf_mtl.data._annotated_images import AnnotatedImage, Remarks, image_records, within
from tf_mtl.data._from_table import from_csv
from tf_mtl.data._pictures import picture_size


def images_from_csv(
    path: str | os.PathLike,
    images: str | os.PathLike,
    file: str = "filename",
    label: str = "class",
    box: Sequence[str] = ("xmin", "ymin", "xmax", "ymax"),
    box_format: str = "xyxy",
    **options: Any,
) -> tf.data.Dataset:
    r"""Return annotated images of a CSV file with a line for each box.

    A line with an empty label and box stands for a picture without boxes. Records are those of
    `tf_mtl.data.from_voc`, in the order in which the pictures first occur: `image`, `boxes`, "xyxy" in pixels,
    `labels`, `crowds`, all False, and `file`. Boxes are clipped to the image. Those without an area are left out, and
    a warning says how many of either there are.

    Args:
        path: The CSV file.
        images: The folder of the pictures.
        file: The column with the pictures' names, relative to `images`.
        label: The column with the names of the classes.
        box: The columns with the four numbers of the boxes, in the order of `box_format`.
        box_format: The format of the boxes, as `keras.utils.bounding_boxes` names it.
        **options: Passed to `tf_mtl.data.from_csv`, such as `names` for a file without a line of names.

    Raises:
        FileNotFoundError: if a file or a picture does not exist.
        ValueError: for an unknown column or format, a box that is not four numbers, boxes that look like another
            format's, or a picture that cannot be read; the message names the file.

    Example:

    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.png").write_bytes(tf.io.encode_png(np.zeros((40, 60, 3), "uint8")).numpy())
    >>> _ = (folder / "boxes.csv").write_text("filename,class,xmin,ymin,xmax,ymax\na.png,cat,5,10,25,30\n")
    >>> record = next(iter(mtl.data.images_from_csv(folder / "boxes.csv", folder)))
    >>> record["boxes"].numpy().tolist(), record["labels"].numpy().tolist()
    ([[5.0, 10.0, 25.0, 30.0]], [b'cat'])
    """
    path, images = Path(path), Path(images)
    checked_format("box_format", box_format)
    if len(box) != 4:
        raise ValueError(f"`box` must be four columns, received {list(box)}.")
    columns = {"file": file, "label": label, **{f"box_{i}": column for i, column in enumerate(box)}}
    rows = from_csv(path, columns, strings=[*columns], **options)
    by_file: dict[str, list[tuple[np.ndarray, str]]] = defaultdict(list)
    for number, row in enumerate(rows.as_numpy_iterator(), 1):
        values = _numbers(path, number, [row[f"box_{side}"] for side in range(4)], row["label"])
        by_file[row["file"].decode()] += [] if values is None else [(values, row["label"].decode())]
    _check_scale(path, by_file, box_format)
    remarks = Remarks()
    annotated = [_image(path, images / name, boxes, box_format, remarks) for name, boxes in by_file.items()]
    misfits, number = remarks.empty + remarks.lost, sum(map(len, by_file.values()))
    if 2 * len(misfits) > number:
        raise ValueError(
            f"{len(misfits)} of {number} boxes in {path} do not fit their pictures as '{box_format}', the first of "
            f"them in {misfits[0]}. Set `box_format`."
        )
    for message in remarks.messages():
        warnings.warn(message, stacklevel=2)
    return image_records(annotated)


def _numbers(path: Path, number: int, cells: Sequence[bytes], label: bytes) -> np.ndarray | None:
    """The box of a row; None where there is neither a box nor a label."""
    if not label and not any(cell.strip() for cell in cells):
        return None
    try:
        box = np.array([float(cell) for cell in cells], "float32")
    except ValueError:
        box = np.full(4, np.nan)
    if not label or not np.isfinite(box).all():
        given = ", ".join(cell.decode() for cell in cells)
        raise ValueError(
            f"{path}, row {number} must have a label and four numbers, received '{label.decode()}', {given}."
        )
    return box


def _check_scale(path: Path, by_file: Mapping[str, Sequence[tuple[np.ndarray, str]]], box_format: str) -> None:
    boxes = [box for rows in by_file.values() for box, _ in rows]
    if boxes and not is_relative(box_format) and np.max(boxes) <= 1:
        raise ValueError(
            f"All boxes in {path} lie between 0 and 1, so they are not pixels. Set `box_format` to a relative one."
        )


def _image(path, picture, boxes, box_format, remarks):
    if not picture.is_file():
        raise FileNotFoundError(f"{path} lists '{picture.name}', but there is no picture {picture}.")
    size = picture_size(picture)
    limits = np.array([*size[::-1]] * 2, "float32")
    in_pixels = to_xyxy(tf.reshape([box for box, _ in boxes], [-1, 4]), box_format, size).numpy()
    placed = [within(box, limits, picture.name, remarks) for box in in_pixels]
    kept = [(box, label) for box, (_, label) in zip(placed, boxes, strict=True) if box is not None]
    return AnnotatedImage(str(picture), [box for box, _ in kept], [label for _, label in kept], [False] * len(kept))
