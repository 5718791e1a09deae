import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl


def scalars(*labels):
    return tf.data.Dataset.from_tensor_slices({"topic": list(labels)})


def tagged(*rows):
    spec = {"tags": tf.TensorSpec([None], tf.string)}
    return tf.data.Dataset.from_generator(lambda: ({"tags": list(row)} for row in rows), output_signature=spec)


def test_one_data_set_a_list_and_a_dict():
    a, b = scalars("sport", "art", "sport"), scalars("été", "Art")
    assert mtl.data.labels_of(a, "topic") == ["art", "sport"]
    assert mtl.data.labels_of([a, b], "topic") == ["Art", "art", "sport", "été"]
    assert mtl.data.labels_of({"a": a, "b": b}, "topic") == ["Art", "art", "sport", "été"]


def test_every_row_is_read():
    names = [f"{number:04}" for number in np.random.default_rng(0).permutation(3000)]
    assert mtl.data.labels_of(scalars(*names), "topic") == sorted(names)


def test_rows_of_tags_and_missing_labels():
    assert mtl.data.labels_of(tagged(["NOUN", "", "VERB"], [], ["ADJ"]), "tags") == ["ADJ", "NOUN", "VERB"]
    assert mtl.data.labels_of(scalars("", "a"), "topic") == ["a"]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["I-b", "O", "B-b", "B-a"], ["O", "B-a", "B-b", "I-b"]),
        (["I-b", "B-a"], ["O", "B-a", "B-b", "I-b"]),
        (["O"], ["O"]),
        (["B-a-b", "I-a-b"], ["O", "B-a-b", "I-a-b"]),
    ],
)
def test_bio(tags, expected):
    labels = mtl.data.labels_of(tagged(tags[:1], tags[1:]), "tags", scheme="BIO")
    assert labels == expected
    if len(labels) > 1:
        mtl.tasks.Tagging("tags", labels=labels)


@pytest.mark.parametrize("tag", ["E-a", "B-", "b-a", "NOUN"])
def test_tags_that_are_not_bio(tag):
    with pytest.raises(ValueError, match=f"`field` 'tags'.*BIO.*received '{tag}'.*scheme='none'"):
        mtl.data.labels_of(tagged(["O", tag]), "tags", scheme="BIO")


@pytest.mark.parametrize(
    ("data", "field", "options", "error", "message"),
    [
        (scalars("a"), "topics", {}, ValueError, "'topics' is not in the data set.*Did you mean 'topic'"),
        ({"x": scalars("a"), "y": tagged(["a"])}, "topic", {}, ValueError, r"data set 'y', which has \['tags'\]"),
        (tf.data.Dataset.from_tensors({"topic": 1}), "topic", {}, TypeError, "`field` 'topic' must hold strings"),
        (tf.data.Dataset.range(3), "topic", {}, TypeError, r"`datasets` must give rows \{field: tensor\}"),
        ([scalars("a"), scalars("a").repeat()], "topic", {}, ValueError, "must end, but data set 1 does not"),
        (scalars(""), "topic", {}, ValueError, "must hold labels in the field 'topic'"),
        ([], "topic", {}, ValueError, "must hold labels"),
        (scalars("a"), "topic", {"scheme": "IOB1"}, ValueError, "`scheme` must be one of .*received 'IOB1'"),
    ],
)
def test_errors(data, field, options, error, message):
    with pytest.raises(error, match=message):
        mtl.data.labels_of(data, field, **options)
