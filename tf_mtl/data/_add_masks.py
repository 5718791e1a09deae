"""Label maps from folders of their own, for pictures that have other labels."""

import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import tensorflow as tf

from tf_mtl.data._pictures import picture_size, pictures_in


def add_masks(records: tf.data.Dataset, masks: Mapping[str, str | os.PathLike]) -> tf.data.Dataset:
    """Return records of pictures with label maps, such as masks or depths, from folders of their own.

    A map belongs to the picture of the same name, whatever their endings and folders. A record without a map gets empty
    bytes, to which `tf_mtl.data.encode_images` gives the weight 0, and a warning says how many are missing.

    Args:
        records: Records with `file`, as `from_voc`, `from_coco`, `images_from_csv` and `from_mask_folders` return
            them. They are read once.
        masks: `{field: folder}`; name a field as the task that reads it.

    Raises:
        ValueError: for a folder without pictures, names that repeat in it or among the records, a map without a
            picture among the records, one that cannot be read, or one of another size than its picture; the message
            names the file.

    Example:

    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("images", "masks"):
    ...     (folder / name).mkdir()
    ...     _ = (folder / name / "a.png").write_bytes(tf.io.encode_png(np.zeros((8, 8, 1), "uint8")).numpy())
    >>> _ = (folder / "boxes.csv").write_text("filename,class,xmin,ymin,xmax,ymax\\na.png,cat,1,2,5,6\\n")
    >>> records = mtl.data.images_from_csv(folder / "boxes.csv", folder / "images")
    >>> sorted(mtl.data.add_masks(records, {"parts": folder / "masks"}).element_spec)
    ['boxes', 'crowds', 'file', 'image', 'labels', 'parts']
    """
    files = [Path(file.decode()) for file in records.map(lambda row: row["file"]).as_numpy_iterator()]
    pictures = _by_stem(files, "`records`")
    tables = {field: _paths(pictures, Path(folder)) for field, folder in masks.items()}

    def with_masks(row: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {**row, **{field: read_or_empty(table.lookup(row["file"])) for field, table in tables.items()}}

    return records.map(with_masks)


def read_or_empty(path: tf.Tensor) -> tf.Tensor:
    """Return the bytes of a file, none for an empty path."""
    return tf.cond(path == "", lambda: tf.constant(""), lambda: tf.io.read_file(path))


def warn_of_missing(missing: int, pictures: int, folder: Path) -> None:
    """Warn of pictures without a map, if there are any."""
    if missing:
        warnings.warn(f"{missing} of {pictures} pictures have no map in {folder}.", stacklevel=3)


def check_map(path: Path, picture: Path) -> None:
    """Check that a label map has the size of its picture.

    Raises:
        ValueError: if not, or if one of them cannot be read.
    """
    size, expected = picture_size(path), picture_size(picture)
    if size != expected:
        raise ValueError(f"{path} must have the size of {picture}, {expected}; received {size}.")


def _paths(pictures: Mapping[str, Path], folder: Path) -> tf.lookup.StaticHashTable:
    """The paths of label maps by those of their pictures."""
    maps = _by_stem([path for paths in pictures_in(folder).values() for path in paths], folder)
    if not maps:
        raise ValueError(f"{folder} has no pictures. Check the path.")
    for stem, path in maps.items():
        if stem not in pictures:
            raise ValueError(f"{path} has no picture of its name among the records. Remove the map.")
        check_map(path, pictures[stem])
    warn_of_missing(len(pictures) - len(maps), len(pictures), folder)
    values = {str(pictures[stem]): str(path) for stem, path in maps.items()}
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([*values], [*values.values()]), "")


def _by_stem(paths: Iterable[Path], where: str | Path) -> dict[str, Path]:
    stems: dict[str, Path] = {}
    for path in paths:
        if path.stem in stems:
            raise ValueError(f"{where} must have one picture named '{path.stem}', received {stems[path.stem]}, {path}.")
        stems[path.stem] = path
    return stems
