"""Annotated images in COCO's JSON files."""

import json
import os
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mtl.data._annotated_images import AnnotatedImage, Remarks, image_records, within
from tf_mtl.data._pictures import picture_size


def from_coco(annotations: str | os.PathLike, images: str | os.PathLike) -> tf.data.Dataset:
    """Return annotated images of a JSON file in COCO's form, `instances_*.json`.

    Records are those of `tf_mtl.data.from_voc`: `image`, `boxes`, `labels`, `crowds` and `file`. Boxes are clipped to
    the image. Those without an area are left out, and a warning says how many of either there are.

    Args:
        annotations: The JSON file, with `images`, `annotations` and `categories`.
        images: The folder of the pictures, in which each `file_name` is.

    Raises:
        FileNotFoundError: if a file or a picture does not exist.
        ValueError: for a file or picture that cannot be read, or annotations of unknown images or categories.
    """
    path, folder = Path(annotations), Path(images)
    try:
        document = json.loads(path.read_text("utf-8"))
        names = {category["id"]: category["name"] for category in document["categories"]}
        by_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for annotation in document["annotations"]:
            by_image[annotation["image_id"]].append(annotation)
        known = {image["id"]: image for image in document["images"]}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not an annotation file of COCO: {error!r}. Give a file instances_*.json."
        ) from error
    unknown = [image for image in by_image if image not in known]
    if unknown:
        raise ValueError(f"{path} has annotations of image {unknown[0]}, which it does not list. Fix the file.")
    if not known:
        raise ValueError(f"{path} lists no images. Give a file instances_*.json.")
    remarks = Remarks()
    try:
        rows = [_image(path, folder, image, by_image[key], names, remarks) for key, image in known.items()]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not an annotation file of COCO: {error!r} is missing or wrong.") from error
    for message in remarks.messages():
        warnings.warn(message, stacklevel=2)
    return image_records(rows)


def _image(path, folder, image, annotations, names, remarks):
    picture = folder / image["file_name"]
    if not picture.is_file():
        raise FileNotFoundError(f"{path} lists {image['file_name']}, but {folder} has no such picture.")
    size = (image["height"], image["width"]) if "width" in image and "height" in image else None
    limits = remarks.limits(picture_size(picture), size, picture.name)
    boxes, labels, crowds = [], [], []
    for annotation in annotations:
        if annotation["category_id"] not in names:
            raise ValueError(
                f"{path} has no category {annotation['category_id']}, that of an annotation. Fix the file."
            )
        if len(annotation["bbox"]) != 4:
            raise ValueError(f"{path} has the `bbox` {annotation['bbox']}, which must be left, top, width and height.")
        left, top, width, height = annotation["bbox"]
        box = within(np.array([left, top, left + width, top + height], "float32"), limits, picture.name, remarks)
        if box is not None:
            boxes.append(box)
            labels.append(names[annotation["category_id"]])
            crowds.append(bool(annotation.get("iscrowd", 0)))
    return AnnotatedImage(str(picture), boxes, labels, crowds)
