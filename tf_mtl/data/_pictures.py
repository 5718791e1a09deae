"""Picture files: finding them, and their sizes."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
_HEAD = 2**16  # holds the size of most JPEG files, behind their thumbnails
_TAIL = 64


def pictures_in(folder: Path, without: Iterable[Path] = ()) -> dict[str, list[Path]]:
    """Return the pictures of a folder and of those inside it that are not hidden, by name.

    Args:
        folder: The folder.
        without: Folders to leave out.
    """
    pictures: dict[str, list[Path]] = defaultdict(list)
    left_out = {path.resolve() for path in without} - {folder.resolve()}
    for path in sorted(folder.rglob("*")):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in ENDINGS and not is_hidden and left_out.isdisjoint(path.resolve().parents):
            pictures[path.name].append(path)
    return pictures


def picture_size(path: Path) -> tuple[int, int]:
    """Return the height and width of a picture, from its first bytes if the file also has its end.

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
        reason = re.sub(r"\{\{.*?\}\} ?", "", error.message)
        raise ValueError(f"{path} cannot be read as a picture: {reason}. Fix or remove the file.") from error
    return height, width
