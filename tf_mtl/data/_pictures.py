"""Picture files: finding them, and their sizes."""

from collections import defaultdict
from pathlib import Path

import tensorflow as tf

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
_HEAD = 2**18  # holds the size of a JPEG file behind its thumbnail
_TAIL = 64


def pictures_in(folder: Path) -> dict[str, list[Path]]:
    """Return the pictures of a folder and those inside it, by name."""
    pictures: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in ENDINGS:
            pictures[path.name].append(path)
    return pictures


def picture_size(path: Path) -> tuple[int, int]:
    """Return the height and width of a picture, from its head if its end is there as well.

    Raises:
        ValueError: for a file that cannot be read as a picture; the message names it.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
        file.seek(max(0, path.stat().st_size - _TAIL))
        tail = file.read()
    try:
        if head.startswith(b"\x89PNG") and b"IEND" in tail and len(head) > _TAIL:
            return int.from_bytes(head[20:24]), int.from_bytes(head[16:20])
        if head.startswith(b"\xff\xd8\xff") and b"\xff\xd9" in tail:
            height, width, _ = tf.io.extract_jpeg_shape(head).numpy().tolist()
            return height, width
    except tf.errors.InvalidArgumentError:
        pass  # a head without the size
    try:
        height, width, _ = tf.io.decode_image(path.read_bytes(), expand_animations=False).shape
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(f"{path} cannot be read as a picture: {error.message}. Fix or remove the file.") from error
    return height, width
