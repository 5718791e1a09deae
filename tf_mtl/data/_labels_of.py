"""The names of the labels in data sets."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import tensorflow as tf

from tf_mtl._names import nearest

_BATCH = 1024


_NAME_OF: dict[str, Callable[[str], str]] = {
    "none": str,
    "BIO": str,
    "arcs": lambda arc: arc.partition(":")[2],
    "relations": lambda relation: relation.partition(":")[2].rpartition(":")[0],
}


def labels_of(
    datasets: tf.data.Dataset | Sequence[tf.data.Dataset] | Mapping[str, tf.data.Dataset],
    field: str,
    scheme: str = "none",
) -> list[str]:
    """Return the label names of a field over several data sets, for the `labels` of a task.

    Args:
        datasets: Data sets of rows {field: tensor}: one, a list, or a dict of them. Pass the training data, and test
            data too if their labels are known in advance.
        field: A field of strings: one label per row, or a list of labels per row.
        scheme: "none": the names, sorted. "BIO": "O", then "B-x" and "I-x" for each type x, sorted by type; "O" is
            always included, and so is the "B-x" of every "I-x". "arcs": the relations of arcs such as "2:subject";
            "relations": those of relations such as "3:lives_in:7"; see `encode_text`.

    Returns:
        The names. They exclude the empty string, which means a missing label.

    Raises:
        TypeError: if a data set does not give rows {field: tensor}, or the field does not hold strings.
        ValueError: for an unknown field, an endless data set, no labels, another scheme, and for a tag that is not BIO
            if the scheme is "BIO".

    Example:

    >>> news = tf.data.Dataset.from_tensor_slices({"topic": ["sport", "trade"]})
    >>> talk = tf.data.Dataset.from_tensor_slices({"topic": ["sport", "art"]})
    >>> mtl.data.labels_of([news, talk], "topic")
    ['art', 'sport', 'trade']
    >>> tagged = tf.data.Dataset.from_tensors({"entities": ["I-person", "O", "B-city"]})
    >>> mtl.data.labels_of(tagged, "entities", scheme="BIO")
    ['O', 'B-city', 'B-person', 'I-person']
    """
    if scheme not in _NAME_OF:
        raise ValueError(f"`scheme` must be one of {list(_NAME_OF)}, received {scheme!r}.")
    names: set[bytes] = set()
    for description, dataset in _described(datasets):
        _check(description, dataset, field)
        for batch in dataset.map(lambda row: row[field]).ragged_batch(_BATCH):
            values = batch.flat_values if isinstance(batch, tf.RaggedTensor) else batch
            names.update(values.numpy().ravel().tolist())
    labels = sorted({_NAME_OF[scheme](name.decode()) for name in names if name})
    if not labels:
        raise ValueError(f"`datasets` must hold labels in the field '{field}', received none. Check the data.")
    return _bio_labels(labels, field) if scheme == "BIO" else labels


def _described(datasets) -> Iterable[tuple[str, tf.data.Dataset]]:
    """Return (description for error messages, data set) of each data set."""
    if isinstance(datasets, tf.data.Dataset):
        return [("the data set", datasets)]
    if isinstance(datasets, Mapping):
        return [(f"data set '{name}'", dataset) for name, dataset in datasets.items()]
    return [(f"data set {number}", dataset) for number, dataset in enumerate(datasets)]


def _check(description: str, dataset: tf.data.Dataset, field: str) -> None:
    element = dataset.element_spec
    if not isinstance(element, Mapping):
        raise TypeError(f"`datasets` must give rows {{field: tensor}}, received {element} from {description}.")
    if field not in element:
        raise ValueError(
            f"`field` '{field}' is not in {description}, which has {list(element)}.{nearest(field, element)}"
        )
    spec = element[field]
    if not isinstance(spec, (tf.TensorSpec, tf.RaggedTensorSpec)) or spec.dtype != tf.string:
        raise TypeError(
            f"`field` '{field}' must hold strings, received {spec} from {description}. If they are class indices, pass "
            "the number of labels to the task instead."
        )
    if int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise ValueError(f"`datasets` must end, but {description} does not. Read the labels before `repeat`.")


def _bio_labels(tags: list[str], field: str) -> list[str]:
    wrong = [tag for tag in tags if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag) < 3)]
    if wrong:
        raise ValueError(
            f"`field` '{field}' must hold BIO tags, which are 'O', and 'B-x' and 'I-x' for each type x, received "
            f"'{wrong[0]}'. Use scheme='none' for tags without spans, or convert the tags."
        )
    types = sorted({tag[2:] for tag in tags if tag != "O"})
    return ["O", *(tag for x in types for tag in (f"B-{x}", f"I-{x}") if tag[0] == "B" or tag in tags)]
