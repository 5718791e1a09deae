"""Annotated images from TensorFlow Datasets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tf_mtl.data._from_tfds import class_names, load_tfds


def images_from_tfds(name: str, split: str, data_dir: str | Path | None = None, **kwargs: Any) -> tf.data.Dataset:
    """Return annotated images of a TFDS data set, such as "voc", "coco" or "oxford_iiit_pet".

    Records are dicts: `image`, the pixels, uint8 [h, w, 3]; of objects, the features with bounding boxes, `boxes`,
    "xyxy" in pixels [M, 4], `labels` [M], their names, and `crowds` [M], True for crowds and for objects that are hard
    to recognise; and the data set's other features, such as masks, with their own names, class labels as strings.
    `tf_mtl.data.encode_images` reads them; `map` renames fields, for tasks of other names.

    Args:
        name: The data set, with its configuration and version where needed, such as "voc/2007".
        split: The split, or a part of it, such as "train" or "train[:10%]".
        data_dir: The folder of prepared data; by default that of TFDS, ~/tensorflow_datasets.
        **kwargs: Passed to `tfds.load`, such as `download=False`.

    Raises:
        RuntimeError: if TFDS cannot load the data; the message contains the error of TFDS.
        ValueError: for a data set without images.

    Example:

    >>> import tensorflow_datasets as tfds
    >>> with tfds.testing.mock_data(num_examples=2):
    ...     records = mtl.data.images_from_tfds("voc/2007", "train")
    >>> sorted(records.element_spec)[:3], records.element_spec["boxes"].shape
    (['boxes', 'crowds', 'image'], TensorShape([None, 4]))
    """
    import tensorflow_datasets as tfds

    dataset, features = load_tfds(name, split, data_dir, **kwargs)
    if not isinstance(dict(features.items()).get("image"), tfds.features.Image):
        raise ValueError(f"`name` must be a data set with an image, but '{name}' has the features {list(features)}.")
    objects = next((key for key, feature in features.items() if _has_boxes(feature)), None)
    names = {key: class_names(feature) for key, feature in features.items()}

    def to_record(row: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        record = {
            key: tf.gather(names[key], value + 1) if names[key] else value
            for key, value in row.items()
            if key != objects and isinstance(value, tf.Tensor)
        }
        return record if objects is None else {**record, **_objects(row[objects], features[objects], row["image"])}

    return dataset.map(to_record)


def _has_boxes(feature: Any) -> bool:
    import tensorflow_datasets as tfds

    inner = getattr(feature, "feature", None)
    if not isinstance(inner, (Mapping, tfds.features.FeaturesDict)):
        return False
    return any(isinstance(each, tfds.features.BBoxFeature) for each in inner.values())


def _objects(objects: Mapping[str, tf.Tensor], feature: Any, image: tf.Tensor) -> dict[str, tf.Tensor]:
    """The boxes, names and crowds of a sequence of objects, whose boxes are (top, left, bottom, right), relative."""
    import tensorflow_datasets as tfds

    parts = feature.feature
    boxes = next(objects[key] for key, each in parts.items() if isinstance(each, tfds.features.BBoxFeature))
    size = tf.cast(tf.shape(image)[1::-1], tf.float32)
    top, left, bottom, right = tf.unstack(boxes, axis=-1)
    record = {"boxes": tf.stack([left, top, right, bottom], -1) * tf.tile(size, [2])}
    label = next((key for key, each in parts.items() if isinstance(each, tfds.features.ClassLabel)), None)
    if label is not None:
        record["labels"] = tf.gather(class_names(parts[label]), objects[label] + 1)
    flags = [objects[key] for key in ("is_crowd", "is_difficult") if key in objects]
    record["crowds"] = flags[0] if flags else tf.zeros(tf.shape(boxes)[:1], tf.bool)
    return record
