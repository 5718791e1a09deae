"""Label maps from folders of their own, for pictures that have other labels."""

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
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
        ValueError: for a field that the records have, a folder without pictures, names that repeat in it or among the
            records, a map without a picture among the records, one that cannot be read, or one of another size than its
            picture; the message names the file.

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
    return with_maps(records, files, {field: _maps(pictures, Path(folder)) for field, folder in masks.items()})


def with_maps(
    records: tf.data.Dataset, pictures: Sequence[Path], maps: Mapping[str, Mapping[Path, Path]]
) -> tf.data.Dataset:
    """Return records with the bytes of label maps, which are empty for a picture without one.

    Args:
        records: Records with `file`.
        pictures: Their files.
        maps: `{field: {picture: label map}}`.

    Raises:
        ValueError: for a field that the records have, or a map that cannot be read or has not the size of its picture.
    """
    taken = sorted({*records.element_spec} & {*maps})
    if taken:
        raise ValueError(f"`masks` must not name the records' fields, received {taken}. Rename them.")
    tables = {}
    for field, of_pictures in maps.items():
        for picture, path in of_pictures.items():
            size, expected = picture_size(path), picture_size(picture)
            if size != expected:
                raise ValueError(f"{path} must have the size of {picture}, {expected}; received {size}.")
        missing = len(pictures) - len(of_pictures)
        if missing:
            warnings.warn(f"{missing} of {len(pictures)} pictures have no map for '{field}'.", stacklevel=3)
        pairs = [[str(path) for path in paths] for paths in (of_pictures.keys(), of_pictures.values())]
        tables[field] = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(*pairs), "")

    def read(path: tf.Tensor) -> tf.Tensor:
        return tf.cond(path == "", lambda: tf.constant(""), lambda: tf.io.read_file(path))

    def with_fields(row: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {**row, **{field: read(table.lookup(row["file"])) for field, table in tables.items()}}

    return records.map(with_fields)


def _maps(pictures: Mapping[str, Path], folder: Path) -> dict[Path, Path]:
    """The label maps of a folder by their pictures."""
    maps = _by_stem([path for paths in pictures_in(folder).values() for path in paths], folder)
    if not maps:
        raise ValueError(f"{folder} has no pictures. Check the path.")
    for stem, path in maps.items():
        if stem not in pictures:
            raise ValueError(f"{path} has no picture of its name among the records. Remove the map.")
    return {pictures[stem]: path for stem, path in maps.items()}


def _by_stem(paths: Iterable[Path], where: str | Path) -> dict[str, Path]:
    stems: dict[str, Path] = {}
    for path in paths:
        if path.stem in stems:
            raise ValueError(f"{where} must have one picture named '{path.stem}', received {stems[path.stem]}, {path}.")
        stems[path.stem] = path
    return stems
