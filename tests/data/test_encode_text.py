"""Rows from annotated texts: indices, warnings about truncation, and errors that name the record."""

import warnings

import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

TAGS = ["O", "B-place", "I-place"]


def records(**fields):
    """Return a data set of records. A field is a scalar or a list of any length."""
    rows = [dict(zip(fields, values, strict=True)) for values in zip(*fields.values(), strict=True)]
    spec = {
        name: tf.TensorSpec(
            [None] if isinstance(values[0], list) else [], tf.string if _is_text(values) else tf.float32
        )
        for name, values in fields.items()
    }
    return tf.data.Dataset.from_generator(lambda: iter(rows), output_signature=spec)


def _is_text(values):
    first = values[0][0] if isinstance(values[0], list) else values[0]
    return isinstance(first, str)


def tasks():
    return [
        mtl.tasks.Tagging("entities", labels=TAGS),
        mtl.tasks.Classification("topic", labels=["sport", "trade"]),
        mtl.tasks.Regression("stars"),
    ]


def words(length=4):
    return mtl.text.Words(["in", "rome", "we", "win"], length)


SENTENCES = {
    "words": [["in", "Rome"], ["we", "win", "in", "Rome", "now"], ["win"]],
    "ner": [["O", "B-place"], ["O", "O", "", "B-place", "O"], [""]],
    "topic": ["trade", "sport", ""],
    "stars": [1.5, float("nan"), 2.0],
}


def rows_of(data, *args, **kwargs):
    return [
        tf.nest.map_structure(lambda t: t.numpy().tolist(), row) for row in mtl.data.encode_text(data, *args, **kwargs)
    ]


def test_rows_and_the_warning_about_truncation():
    with pytest.warns(UserWarning, match=r"1 of 3 texts .* Lost: 1 words, 1 labels of 'entities'.*with_length"):
        rows = rows_of(records(**SENTENCES), words(), tasks(), fields={"entities": "ner"})
    assert [x for x, _, _ in rows] == [{"token_ids": [2, 3]}, {"token_ids": [4, 5, 2, 3]}, {"token_ids": [5]}]
    assert [y["entities"] for _, y, _ in rows] == [[0, 1], [0, 0, 0, 1], [0]]
    assert [w["entities"] for _, _, w in rows] == [[1, 1], [1, 1, 0, 1], [0]]
    assert [(y["topic"], w["topic"]) for _, y, w in rows] == [(1, 1), (0, 1), (0, 0)]
    assert [(y["stars"], w["stars"]) for _, y, w in rows] == [(1.5, 1), (0, 0), (2, 1)]


def test_sentences_of_one_length():
    """The element spec has the number of words, so `ragged_batch` gives dense tensors."""
    fields = {"words": [["in", "Rome"], ["we", "win"]], "ner": [["O", "B-place"], ["O", ""]], "topic": ["trade", ""]}
    data = tf.data.Dataset.from_tensor_slices(fields)
    rows = rows_of(data, words(), tasks()[:2], fields={"entities": "ner"})
    assert rows == rows_of(records(**fields), words(), tasks()[:2], fields={"entities": "ner"})
    assert [w["entities"] for _, _, w in rows] == [[1, 1], [1, 0]]


def test_no_warning_without_truncation():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = mtl.data.encode_text(records(**SENTENCES), words(8), tasks()[1:])
    assert len(data) == 3
    assert {spec.dtype for spec in data.element_spec[2].values()} == {tf.float32}


def test_labels_stay_with_their_words_when_subwords_are_truncated():
    import keras_hub

    tokenizer = keras_hub.tokenizers.WordPieceTokenizer(["[PAD]", "[UNK]", "in", "ro", "##me", "we"], lowercase=True)
    data = records(words=[["we", "Rome", "in", "Rome"], ["in"]], entities=[["O", "B-place", "O", "B-place"], ["O"]])
    with pytest.warns(UserWarning, match="Lost: 1 words"):
        rows = rows_of(data, mtl.text.Subwords(tokenizer, 4), tasks()[:1])
    assert rows[0][0]["word_starts"] == [1, 1, 0, 1]
    assert rows[0][1]["entities"] == [0, 1, 0]
    assert rows[1][1]["entities"] == [0]


def test_class_indices():
    """Class indices below 0 mean missing labels; those beyond the last class are errors."""
    data = tf.data.Dataset.from_tensors({"words": ["we", "win", "in"], "entities": [0, -100, 2], "topic": -1})
    (row,) = rows_of(data, words(), tasks()[:2])
    assert row[1:] == ({"entities": [0, 0, 2], "topic": 0}, {"entities": [1, 0, 1], "topic": 0})
    float_labels = data.map(lambda row: {**row, "topic": tf.cast(row["topic"], tf.float32)})  # as from_csv gives them
    assert rows_of(float_labels, words(), tasks()[1:2])[0][1:] == ({"topic": 0}, {"topic": 0})
    with pytest.raises(ValueError, match="Record 0 has the label 2.0, but task 'topic' has the 2 labels"):
        rows_of(float_labels.map(lambda row: {**row, "topic": 2.0}), words(), tasks()[1:2])
    with pytest.raises(ValueError, match="Record 0 has the label 3, but task 'entities' has the 3 labels"):
        rows_of(data.map(lambda row: {**row, "entities": row["entities"] + 1}), words(), tasks()[:2])


def test_label_names_that_are_numbers(tmp_path):
    (tmp_path / "a.csv").write_text("text,stars\nin,1\nrome,2\n")
    task = mtl.tasks.Classification("stars", labels=["1", "2", "3"])
    columns = {"text": "text", "stars": "stars"}
    with pytest.raises(ValueError, match="may be names or indices"):
        mtl.data.encode_text(mtl.data.from_csv(tmp_path / "a.csv", columns), words(), [task], text="text")
    labelled_by_name = mtl.data.from_csv(tmp_path / "a.csv", columns, strings=["stars"])
    assert [y["stars"] for _, y, _ in rows_of(labelled_by_name, words(), [task], text="text")] == [0, 1]


def test_many_records_keep_their_order():
    count = 2500  # more than one batch of records
    texts = [f"{'in ' * (i % 3 + 1)}rome" for i in range(count)]
    topic = ["sport" if i % 7 else "trade" for i in range(count)]
    data = tf.data.Dataset.from_tensor_slices({"text": texts, "topic": topic})
    rows = rows_of(data, words(8), tasks()[1:2], text="text")
    assert [len(x["token_ids"]) for x, _, _ in rows] == [i % 3 + 2 for i in range(count)]
    assert [y["topic"] for _, y, _ in rows] == [int(i % 7 == 0) for i in range(count)]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"ner": [["O", "B-place"], ["O"] * 5, ["B-city"]]}, {}, r"Record 2 has the label 'B-city'.*labels_of"),
        ({"topic": ["sport", "trades", ""]}, {}, "Record 1 has the label 'trades'.* Did you mean 'trade'"),
        ({"ner": [["O", "O"], ["O"] * 4, ["O"]]}, {}, "Record 1 has 5 words, but 4 labels of task 'entities'"),
        ({}, {"fields": {"entities": "nre"}}, "no field 'nre'.* Did you mean 'ner'"),
        ({}, {"fields": {"entity": "ner"}}, "Did you mean 'entities'"),
        ({}, {"text": "sentence"}, "no field 'sentence'"),
        ({}, {"text": "topic"}, "not split into words"),
    ],
)
def test_errors(change, options, message):
    options = {"fields": {"entities": "ner"}, **options}
    with pytest.raises(ValueError, match=message):
        mtl.data.encode_text(records(**{**SENTENCES, **change}), words(8), tasks(), **options)


def test_no_records():
    with pytest.raises(ValueError, match="`records` must hold at least one record"):
        mtl.data.encode_text(records(**SENTENCES).take(0), words(8), tasks()[1:])


def test_concatenate_adds_weights_to_labels_of_unknown_length():
    """One source has a weight per word. The other has none, so all its words get weight 1."""

    def source(weight):
        labels = {"t": tf.constant([1, 2, 3])}
        row = (tf.ones([3], tf.int32), labels, *([] if weight is None else [{"t": tf.constant(weight, tf.float64)}]))
        rows = tf.data.Dataset.from_tensors(row)
        return rows.map(lambda *row: tf.nest.map_structure(lambda t: tf.boolean_mask(t, t == t), row))

    rows = mtl.data.concatenate({"a": source([1, 0, 1]), "b": source(None)})
    assert [weight["t"].numpy().tolist() for *_, weight in rows] == [[1, 0, 1], [1, 1, 1]]


def test_concatenate():
    a = mtl.data.encode_text(records(words=SENTENCES["words"], topic=SENTENCES["topic"]), words(8), tasks()[1:2])
    b = mtl.data.encode_text(records(words=[["in", "Rome"]], entities=[["O", "B-place"]]), words(8), tasks()[:1])
    joined = mtl.data.concatenate({"a": a, "b": b})
    assert len(joined) == 4
    assert [float(w["topic"]) for _, _, w in joined] == [1, 1, 0, 0]
    (x, y, weight) = next(iter(mtl.data.batch_by_length(joined, 4)))
    assert x["token_ids"].shape == y["entities"].shape == weight["entities"].shape == (4, 5)
    np.testing.assert_array_equal(weight["entities"], [[0] * 5] * 3 + [[1, 1, 0, 0, 0]])


def test_lists_of_names():
    task = mtl.tasks.MultiLabel("moods", ["joy", "anger"])
    lists = [["anger"], [], [""], ["joy", "anger"]]
    records = tf.data.Dataset.from_tensor_slices(
        {"text": ["a", "b", "a b", "b a"], "moods": tf.ragged.constant(lists, dtype=tf.string)}
    )
    words = mtl.text.Words(["a", "b"], 4)
    rows = list(mtl.data.encode_text(records, words, [task], text="text").as_numpy_iterator())
    assert [y["moods"].tolist() for _, y, _ in rows] == [[0, 1], [0, 0], [0, 0], [1, 1]]
    assert [float(weight["moods"]) for *_, weight in rows] == [1, 1, 0, 1]
    wrong = records.map(lambda row: {**row, "moods": tf.constant(["angre"])})
    with pytest.raises(ValueError, match="Record 0 has the label 'angre'.*mean 'anger'"):
        mtl.data.encode_text(wrong, words, [task], text="text")
