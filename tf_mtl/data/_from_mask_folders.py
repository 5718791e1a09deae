"""Pictures with label maps in folders beside theirs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from tf_mtl.data._add_masks import with_maps
from tf_mtl.data._pictures import picture_size, pictures_in
from tf_mtl.data._records import record_dataset


def from_mask_folders(images: str | os.PathLike, masks: Mapping[str, str | os.PathLike]) -> tf.data.Dataset:
    """Return the pictures of a folder with label maps, such as masks or depths, from folders of their own.

    A map belongs to the picture of the same path in its folder, whatever their endings. Records are dicts: `image`, the
    bytes of the picture's file; a field for each folder of maps, the bytes of the map's file, which are empty where a
    picture has none; and `file`, the picture's path. `tf_mtl.data.encode_images` gives a missing map the weight 0, and
    a warning says how many are missing.

    Args:
        images: The folder of the pictures.
        masks: `{field: folder}`; name a field as the task that reads it.

    Raises:
        ValueError: for a folder without pictures, a field `file` or `image`, a map without a picture, a picture or map
            that cannot be read, or one of another size than its picture; the message names the file.

    Example:

    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("images", "masks"):
    ...     (folder / name).mkdir()
    ...     _ = (folder / name / "a.png").write_bytes(tf.io.encode_png(np.zeros((8, 8, 1), "uint8")).numpy())
    >>> sorted(mtl.data.from_mask_folders(folder / "images", {"parts": folder / "masks"}).element_spec)
    ['file', 'image', 'parts']
    """
    pictures = _by_key(Path(images), [Path(folder) for folder in masks.values()])
    for path in pictures.values():
        picture_size(path)  # raises for one that cannot be read
    files = [*pictures.values()]
    records = record_dataset({"file": [*map(str, files)]})
    records = records.map(lambda row: {**row, "image": tf.io.read_file(row["file"])})
    return with_maps(records, files, {field: _maps(pictures, Path(folder), images) for field, folder in masks.items()})


def _maps(pictures: Mapping[str, Path], folder: Path, images: str | os.PathLike) -> dict[Path, Path]:
    """The label maps of a folder by their pictures."""
    maps = _by_key(folder)
    for key, path in maps.items():
        if key not in pictures:
            raise ValueError(f"{path} has no picture {key} in {images}. Add it, or remove the map.")
    return {pictures[key]: path for key, path in maps.items()}


def _by_key(folder: Path, without: Sequence[Path] = ()) -> dict[str, Path]:
    """The pictures of a folder by their paths in it, without endings."""
    keys: dict[str, Path] = {}
    for path in (path for paths in pictures_in(folder, without).values() for path in paths):
        key = path.relative_to(folder).with_suffix("").as_posix()
        if key in keys:
            raise ValueError(f"{folder} has both {keys[key].name} and {path.name}. Keep one of them.")
        keys[key] = path
    if not keys:
        raise ValueError(f"{folder} has no pictures. Check the path.")
    return dict(sorted(keys.items()))
