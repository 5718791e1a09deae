"""Data sets by name from TensorFlow Datasets (https://www.tensorflow.org/datasets)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tf_mtl._names import nearest


def from_tfds(
    name: str,
    split: str,
    columns: Mapping[str, str] | None = None,
    data_dir: str | Path | None = None,
    **kwargs: Any,
) -> tf.data.Dataset:
    """Read a split of a TFDS data set, downloading and preparing it if necessary.

    Class labels, one per row or a sequence of them, become their names, and "" where TFDS has -1, its marker of an
    unknown label. Other features are unchanged.

    Args:
        name: The data set, with its configuration and version where needed, such as "glue/sst2:2.0.0".
        split: The split, or a part of it, such as "train" or "train[:10%]".
        columns: `{field: feature name}`; by default all features under their own names.
        data_dir: The folder of prepared data; by default that of TFDS, ~/tensorflow_datasets.
        **kwargs: Passed to `tfds.load`, such as `download=False`.

    Returns:
        A data set of rows {field: tensor}, in the order in which TFDS prepared them.

    Raises:
        RuntimeError: if TFDS cannot load the data; the message contains the error of TFDS.
        TypeError: if its rows are not {feature: tensor}.
        ValueError: for an unknown feature.

    Example:

    >>> import tensorflow_datasets as tfds
    >>> with tfds.testing.mock_data(num_examples=2):
    ...     rows = mtl.data.from_tfds("ag_news_subset", "train", {"text": "description", "topic": "label"})
    >>> rows.element_spec["topic"].dtype, int(rows.cardinality())
    (tf.string, 2)
    """
    dataset, features = load_tfds(name, split, data_dir, **kwargs)
    if not isinstance(dataset.element_spec, Mapping):
        raise TypeError(
            f"`name` must be a data set of rows {{feature: tensor}}, but '{name}' gives {dataset.element_spec}. Omit "
            "`as_supervised`, or choose another data set."
        )
    columns = {feature: feature for feature in features} if columns is None else dict(columns)
    for field, feature in columns.items():
        if feature not in features:
            raise ValueError(
                f"`columns['{field}']` is '{feature}', but '{name}' has the features {list(features)}."
                f"{nearest(feature, features)}"
            )
    names = {field: class_names(features[feature]) for field, feature in columns.items()}

    def to_record(row):
        return {
            field: tf.gather(names[field], row[feature] + 1) if names[field] else row[feature]
            for field, feature in columns.items()
        }

    return dataset.map(to_record)


def load_tfds(name: str, split: str, data_dir: str | Path | None, **kwargs: Any) -> tuple[tf.data.Dataset, Any]:
    """Return a split of a TFDS data set, and its features.

    Raises:
        RuntimeError: if TFDS cannot load the data.
    """
    import tensorflow_datasets as tfds

    try:
        dataset, info = tfds.load(name, split=split, data_dir=data_dir, with_info=True, **kwargs)
    except Exception as error:  # downloads, builders and file systems raise errors of many types
        raise RuntimeError(
            f"TFDS cannot load split '{split}' of '{name}': {type(error).__name__}: {error}\n"
            "Check the name and the split, pass the `data_dir` of data that are already prepared, or prepare them with "
            "`tfds build` on a machine with a network and copy them. To read your own files, use `from_csv`, "
            "`from_jsonl`, `from_conll`, `from_voc` or `from_coco`."
        ) from error
    return dataset, info.features


def class_names(feature: Any) -> list[str]:
    """Return "", the name of -1, followed by the names of a feature's classes; an empty list for other features."""
    import tensorflow_datasets as tfds

    while isinstance(feature, tfds.features.Sequence):
        feature = feature.feature
    return ["", *feature.names] if isinstance(feature, tfds.features.ClassLabel) else []
