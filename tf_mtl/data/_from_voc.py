"""Annotated images in the folders of Pascal VOC."""

import os
import random
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tensorflow as tf

from tf_mtl.data._annotated_images import AnnotatedImage, Remarks, image_records, within
from tf_mtl.data._pictures import ENDINGS, picture_size, pictures_in

_PARTS = {"train": 0.7, "val": 0.15, "test": 0.15}


def from_voc(folder: str | os.PathLike, seed: int = 0) -> dict[str, tf.data.Dataset]:
    """Return annotated images of a folder in the form of Pascal VOC, by part.

    Annotations are found by the ending .xml, and pictures by theirs, wherever they are in the folder; an annotation
    belongs to the picture with its `filename`, or else its own name. Parts are those of the lists train.txt, val.txt
    and test.txt of `ImageSets/Main`. Without any of them, pictures are divided at random into 70 % "train", 15 % "val"
    and 15 % "test"; a part without pictures is left out.

    Records are dicts: `image`, the bytes of the picture's file; `boxes`, "xyxy" in pixels, float32 [M, 4]; `labels`,
    the objects' names [M]; `crowds` [M], True for objects marked as difficult; and `file`, the picture's path. Boxes
    are clipped to the image. Those without an area are left out, and a warning says how many of either there are.

    Args:
        folder: The folder.
        seed: Seed of the division where there are no lists.

    Raises:
        ValueError: for a folder without annotations, an annotation or picture that cannot be read, or an annotation
            without a picture; the message names the file.
    """
    folder = Path(folder)
    annotations = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.xml"))}
    pictures = pictures_in(folder)
    if not annotations:
        raise ValueError(f"`folder` must have annotations, files that end in .xml; found none in {folder}.")
    remarks = Remarks()
    images = {key: _read(path, pictures, remarks) for key, path in annotations.items()}
    for message in remarks.messages():
        warnings.warn(message, stacklevel=2)
    parts = _listed_parts(folder, annotations) or _random_parts(sorted(images), seed)
    return {part: image_records([images[key] for key in keys]) for part, keys in parts.items() if keys}


def _read(path: Path, pictures: Mapping[str, list[Path]], remarks: Remarks) -> AnnotatedImage:
    try:
        root = ElementTree.parse(path).getroot()
        objects = [_object(node) for node in root.iter("object")]
        size = tuple(int(float(root.findtext(f"size/{side}") or 0)) for side in ("height", "width"))
    except (ElementTree.ParseError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is not a readable annotation: {error}. Fix or remove the file.") from error
    picture = _picture(path, root.findtext("filename"), pictures)
    limits = remarks.limits(picture_size(picture), size if all(size) else None, path.name)
    placed = [(within(box, limits, path.name, remarks), label, is_crowd) for box, label, is_crowd in objects]
    kept = [(box, label, is_crowd) for box, label, is_crowd in placed if box is not None]
    boxes, labels, crowds = (list(column) for column in zip(*kept, strict=True)) if kept else ([], [], [])
    return AnnotatedImage(str(picture), boxes, labels, crowds)


def _picture(path: Path, filename: str | None, pictures: Mapping[str, list[Path]]) -> Path:
    """The picture of an annotation: of several with its name, the one beside it."""
    names = [filename or "", *(path.stem + ending for ending in ENDINGS)]
    found = next((pictures[name] for name in names if name in pictures), [])
    beside = [picture for picture in found if picture.parent == path.parent]
    if len(beside or found) != 1:
        problem = f"several pictures of its name: {', '.join(map(str, found))}" if found else "no picture of its name"
        raise ValueError(
            f"{path} has {problem}. Each needs one picture, named {names[0]!r} or {path.stem!r}: add it, move it "
            "beside the annotation, or remove the annotation."
        )
    return (beside or found)[0]


def _object(node: Any) -> tuple[np.ndarray, str, bool]:
    box = [float(node.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
    return np.array(box, "float32"), node.findtext("name").strip(), (node.findtext("difficult") or "0").strip() == "1"


def _listed_parts(folder: Path, annotations: Mapping[str, Path]) -> dict[str, list[str]]:
    """The annotations that each list in `ImageSets/Main` names; nothing without a list."""
    lists = {path.stem: path for path in sorted(folder.rglob("ImageSets/Main/*.txt")) if path.stem in _PARTS}
    by_stem = {path.stem: key for key, path in annotations.items()}
    if lists and len(by_stem) < len(annotations):
        raise ValueError(
            f"{folder} has several annotations of one name, which its lists do not tell apart. Rename them."
        )
    parts = {}
    for part, path in lists.items():
        stems = [line.split()[0] for line in path.read_text("utf-8").splitlines() if line.strip()]
        unknown = [stem for stem in stems if stem not in by_stem]
        if unknown:
            raise ValueError(f"{path} lists '{unknown[0]}', which has no annotation. Add it, or fix the list.")
        parts[part] = [by_stem[stem] for stem in stems]
    return {part: parts[part] for part in _PARTS if part in parts}


def _random_parts(stems: list[str], seed: int) -> dict[str, list[str]]:
    random.Random(seed).shuffle(stems)
    ends = np.round(np.cumsum([0, *_PARTS.values()]) * len(stems)).astype(int)
    return {part: sorted(stems[a:b]) for part, a, b in zip(_PARTS, ends[:-1], ends[1:], strict=True)}
