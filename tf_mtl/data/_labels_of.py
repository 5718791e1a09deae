"""The names of the labels that stand in data sets."""

from collections.abc import Iterable, Mapping, Sequence

import tensorflow as tf

from tf_mtl._names import nearest

_BATCH = 1024


def labels_of(
    datasets: tf.data.Dataset | Sequence[tf.data.Dataset] | Mapping[str, tf.data.Dataset],
    field: str,
    scheme: str = "none",
) -> list[str]:
    """Return the label names of a field over several data sets, for the `labels` of a task.

    Args:
        datasets: Data sets of rows {field: tensor}: one, a list, or a dict of them. Give the training data; a test
            set too where its labels are known beforehand.
        field: The field, strings: one for each row, or a list of them for each row.
        scheme: "none": the names, sorted. "BIO": "O", then "B-x" and "I-x" for each type x, sorted by type; the
            "B-x" of an "I-x" that stands alone is added, and so is "O".

    Returns:
        The names. An empty string is a missing label and not among them.

    Raises:
        TypeError: if a data set does not give rows {field: tensor}, or the field does not hold strings.
        ValueError: for an unknown field, a data set without end, no labels, another scheme, and for "BIO" a tag that
            is none.

    Example:

    >>> news = tf.data.Dataset.from_tensor_slices({"topic": ["sport", "trade"]})
    >>> talk = tf.data.Dataset.from_tensor_slices({"topic": ["sport", "art"]})
    >>> mtl.data.labels_of([news, talk], "topic")
    ['art', 'sport', 'trade']
    >>> tagged = tf.data.Dataset.from_tensors({"entities": ["I-person", "O", "B-city"]})
    >>> mtl.data.labels_of(tagged, "entities", scheme="BIO")
    ['O', 'B-city', 'B-person', 'I-person']
    """
    if scheme not in ("none", "BIO"):
        raise ValueError(f"`scheme` must be 'none' or 'BIO', received {scheme!r}.")
    found = set()
    for name, dataset in _named(datasets):
        _check(name, dataset, field)
        for batch in dataset.map(lambda row: row[field]).ragged_batch(_BATCH):
            found.update(getattr(batch, "flat_values", batch).numpy().ravel().tolist())
    labels = sorted(label.decode() for label in found if label)
    if not labels:
        raise ValueError(f"`datasets` must hold labels in the field '{field}', received none. Check the data.")
    return labels if scheme == "none" else _bio(labels, field)


def _named(datasets) -> Iterable[tuple[str, tf.data.Dataset]]:
    if isinstance(datasets, tf.data.Dataset):
        return [("the data set", datasets)]
    if isinstance(datasets, Mapping):
        return [(f"data set '{name}'", dataset) for name, dataset in datasets.items()]
    return [(f"data set {number}", dataset) for number, dataset in enumerate(datasets)]


def _check(name, dataset, field):
    element = dataset.element_spec
    if not isinstance(element, Mapping):
        raise TypeError(f"`datasets` must give rows {{field: tensor}}, received {element} from {name}.")
    if field not in element:
        raise ValueError(f"`field` '{field}' is not in {name}, which has {list(element)}.{nearest(field, element)}")
    spec = element[field]
    if not isinstance(spec, tf.TensorSpec) or spec.dtype != tf.string:
        raise TypeError(
            f"`field` '{field}' must hold strings, received {spec} from {name}. For class indices give a task its "
            "number of labels."
        )
    if int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise ValueError(f"`datasets` must end, but {name} does not. Read the labels before `repeat`.")


def _bio(labels, field):
    wrong = [label for label in labels if label != "O" and (label[:2] not in ("B-", "I-") or len(label) < 3)]
    if wrong:
        raise ValueError(
            f"`field` '{field}' must hold BIO tags, 'O' and 'B-x' and 'I-x' for each type x, received '{wrong[0]}'. "
            "Use scheme='none' for tags without spans, or convert the tags."
        )
    types = sorted({label[2:] for label in labels if label != "O"})
    return ["O", *(tag for x in types for tag in (f"B-{x}", f"I-{x}") if tag[0] == "B" or tag in labels)]
