"""Data sets of TensorFlow Datasets (https://www.tensorflow.org/datasets) by name."""

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
    """Read a split of a TFDS data set, downloading and preparing it if need be.

    Class labels become their names, one for each row or sequences of them, and "" where TFDS has -1, its mark of a
    label that is not known. Other features stay as they are.

    Args:
        name: The data set, with its configuration and version where they matter, such as "glue/sst2:2.0.0".
        split: The split, or a part of it, such as "train" or "train[:10%]".
        columns: `{field: feature name}`; by default all features under their own names.
        data_dir: The folder of prepared data; by default that of TFDS, ~/tensorflow_datasets.
        **kwargs: For `tfds.load`, such as `download=False`.

    Returns:
        A data set of rows {field: tensor}, in the order in which TFDS prepared them.

    Raises:
        RuntimeError: if TFDS cannot give the data; the message holds what TFDS said.
        TypeError: if its rows are not {feature: tensor}.
        ValueError: for an unknown feature.

    Example:

    >>> import tensorflow_datasets as tfds
    >>> with tfds.testing.mock_data(num_examples=2):
    ...     rows = mtl.data.from_tfds("ag_news_subset", "train", {"text": "description", "topic": "label"})
    >>> rows.element_spec["topic"].dtype, int(rows.cardinality())
    (tf.string, 2)
    """
    import tensorflow_datasets as tfds

    try:
        dataset, info = tfds.load(name, split=split, data_dir=data_dir, with_info=True, **kwargs)
    except Exception as error:  # it raises whatever its downloads, builders and file systems do
        raise RuntimeError(
            f"TFDS cannot give split '{split}' of '{name}': {type(error).__name__}: {error}\n"
            "Check the name and the split, give the `data_dir` of data that were prepared before, or prepare them "
            "where there is a network with `tfds build` and copy them. A file of your own is read by `from_csv`, "
            "`from_jsonl` or `from_conll`."
        ) from error
    if not isinstance(dataset.element_spec, Mapping):
        raise TypeError(
            f"`name` must be a data set of rows {{feature: tensor}}, but '{name}' gives {dataset.element_spec}. Leave "
            "out `as_supervised`, or choose another data set."
        )
    features = info.features
    columns = {feature: feature for feature in features} if columns is None else dict(columns)
    for field, feature in columns.items():
        if feature not in features:
            raise ValueError(
                f"`columns['{field}']` is '{feature}', but '{name}' has the features {list(features)}."
                f"{nearest(feature, features)}"
            )
    names = {field: _class_names(features[feature], tfds) for field, feature in columns.items()}

    def record(row):
        return {
            field: tf.gather(names[field], row[feature] + 1) if names[field] else row[feature]
            for field, feature in columns.items()
        }

    return dataset.map(record)


def _class_names(feature, tfds):
    """Return the names of a feature's classes behind "", the name of -1; none for other features."""
    while isinstance(feature, tfds.features.Sequence):
        feature = feature.feature
    return ["", *feature.names] if isinstance(feature, tfds.features.ClassLabel) else []
