"""Arcs, relations and a task's own raw labels, from annotated texts to rows."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

SPEC = tf.TensorSpec([None], tf.string)


def records(**fields):
    """Return records of lists of strings."""
    rows = [dict(zip(fields, values, strict=True)) for values in zip(*fields.values(), strict=True)]
    return tf.data.Dataset.from_generator(lambda: iter(rows), output_signature=dict.fromkeys(fields, SPEC))


def words(length=8):
    return mtl.text.Words(["she", "saw", "him"], length)


def parse():
    return mtl.tasks.DependencyParse("parse", ["root", "subject", "nsubj:pass"], arc_units=4, label_units=4)


def relations():
    return mtl.tasks.Relations("relations", ["lives_in", "works:for"], ["O", "B-person", "B-place"], units=16)


def rows_of(data, task, preprocessor=None):
    rows = mtl.data.encode_text(data, preprocessor or words(), [task])
    return [(y[task.name].numpy(), weight[task.name].numpy()) for _, y, weight in rows]


def test_arcs_become_heads_and_relations():
    data = records(words=[["she", "saw", "him"], ["saw"]], parse=[["2:subject", "0:root", ""], ["0:root"]])
    first, second = rows_of(data, parse())
    assert first[0].tolist() == [[2, 1], [0, 0], [0, 0]]
    assert first[1].tolist() == [1, 1, 0]
    assert second[0].tolist() == [[0, 0]]
    assert second[1].tolist() == [1]


def test_relations_of_arcs_may_hold_colons():
    ((values, _),) = rows_of(records(words=[["she", "saw"]], parse=[["2:nsubj:pass", "0:root"]]), parse())
    assert values.tolist() == [[2, 2], [0, 0]]


def test_arcs_to_truncated_words_are_lost_and_counted():
    data = records(words=[["she", "saw", "him", "saw"]], parse=[["4:subject", "0:root", "2:subject", "2:subject"]])
    with pytest.warns(UserWarning, match="Lost: 2 words, 3 labels of 'parse'"):
        ((values, weights),) = rows_of(data, parse(), words(2))
    assert values.tolist() == [[0, 0], [0, 0]]
    assert weights.tolist() == [0, 1]


def test_texts_without_words():
    ((values, weights),) = rows_of(records(words=[[]], parse=[[]]), parse())
    assert values.shape == (0, 2)
    assert weights.shape == (0,)
    ((values, _),) = rows_of(records(words=[[]], relations=[[]]), relations())
    assert values.shape[-1] == 2


def test_cycles_of_arcs_are_kept_and_reported():
    cycle, tree = ["2:subject", "1:subject", "0:root"], ["2:subject", "0:root", "2:subject"]
    data = records(words=[["she", "saw", "him"]] * 3, parse=[cycle, tree, cycle])
    with pytest.warns(UserWarning, match="form a cycle are kept.*: 2 of 'parse'"):
        rows = rows_of(data, parse())
    assert rows[0][0].tolist() == [[2, 1], [1, 1], [0, 0]]
    assert rows[0][1].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("arcs", "message"),
    [
        (["3:subject", "0:root"], "Record 0 has the arc '3:subject' of task 'parse', but only 2 words"),
        (["subject", "0:root"], "Record 0 has the arc 'subject' of task 'parse'. Give the head and the relation"),
        (["2:subjekt", "0:root"], "the label 'subjekt', which is not one of task 'parse'.*Did you mean 'subject'"),
        (["0:root"], "Record 0 has 2 words, but 1 labels"),
    ],
)
def test_wrong_arcs_are_errors(arcs, message):
    with pytest.raises(ValueError, match=message):
        rows_of(records(words=[["she", "saw"]], parse=[arcs]), parse())


def test_relations_become_cells():
    data = records(
        words=[["she", "saw", "him"], ["saw"], ["him"]], relations=[["0:lives_in:2", "2:works:for:0", ""], [], [""]]
    )
    rows = rows_of(data, relations())
    expected = np.zeros((3, 3, 2))
    expected[0, 2, 0] = expected[2, 0, 1] = 1
    np.testing.assert_array_equal(rows[0][0], expected)
    assert [values.shape for values, _ in rows] == [(3, 3, 2), (1, 1, 2), (1, 1, 2)]
    assert [weights.tolist() for _, weights in rows] == [1, 1, 0]


def test_relations_of_truncated_words_are_lost_and_counted():
    data = records(words=[["she", "saw", "him"]], relations=[["0:lives_in:2", "1:lives_in:0"]])
    with pytest.warns(UserWarning, match="Lost: 1 words, 1 labels of 'relations'"):
        ((values, weights),) = rows_of(data, relations(), words(2))
    assert values.sum() == 1
    assert values[1, 0, 0] == 1
    assert weights == 1


@pytest.mark.parametrize(
    ("relation", "message"),
    [
        ("0:lives_in:2", "Record 0 has the relation '0:lives_in:2' of task 'relations'.*the text has 2 words"),
        ("0:lives_in", "Record 0 has the relation '0:lives_in' of task 'relations'. Give the last word"),
        ("0:lives_on:1", "the label 'lives_on', which is not one of task 'relations'.*Did you mean 'lives_in'"),
    ],
)
def test_wrong_relations_are_errors(relation, message):
    with pytest.raises(ValueError, match=message):
        rows_of(records(words=[["she", "saw"]], relations=[[relation]]), relations())


def test_a_model_learns_arcs_and_relations_of_texts():
    data = records(
        words=[["she", "saw", "him"], ["saw", "him"]] * 4,
        parse=[["2:subject", "0:root", "2:subject"], ["0:root", "1:subject"]] * 4,
        entities=[["B-person", "O", "B-person"], ["O", "B-person"]] * 4,
        relations=[["0:lives_in:2"], [""]] * 4,
    )
    entities = mtl.tasks.Tagging("entities", labels=["O", "B-person", "B-place"])
    tasks = [parse(), entities, relations()]
    encoder = mtl.encoders.RecurrentEncoder(words().vocabulary_size, dim=8, units=8)
    model = mtl.build_model(words().inputs(), mtl.trunks.HardSharing(encoder), tasks)
    model.compile(keras.optimizers.Adam(0.05))
    batches = mtl.data.batch_by_length(mtl.data.encode_text(data, words(), tasks), 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(batches, epochs=60, verbose=0)
    results = model.evaluate(batches, return_dict=True, verbose=0)
    assert results["parse_las"] == 1
    assert results["relations_micro_f1"] == 1


def test_names_of_arcs_and_relations():
    data = records(
        words=[["she", "saw"], ["saw"]], parse=[["2:nsubj:pass", "0:root"], [""]], pairs=[["0:works:for:1", ""], []]
    )
    assert mtl.data.labels_of(data, "parse", scheme="arcs") == ["nsubj:pass", "root"]
    assert mtl.data.labels_of(data, "pairs", scheme="relations") == ["works:for"]
    rows = {"words": tf.ragged.constant([["she", "saw"], ["saw"]]), "tags": tf.ragged.constant([["b", "a"], ["b"]])}
    assert mtl.data.labels_of(tf.data.Dataset.from_tensor_slices(rows), "tags") == ["a", "b"]


@pytest.mark.parametrize("task", [parse(), mtl.tasks.Tagging("parse", ["0:root", "2:subject"], scheme="none")])
def test_records_of_one_length_are_checked_word_by_word(task):
    def data(labels):
        return tf.data.Dataset.from_tensor_slices({"words": [["she", "saw"]] * 2, "parse": [labels] * 2})

    with pytest.raises(ValueError, match="Record 0 has 2 words, but 1 labels of task 'parse'"):
        rows_of(data(["0:root"]), task)
    assert rows_of(data(["2:subject", "0:root"]), task)[1][1].tolist() == [1, 1]


class Counting(mtl.tasks.Regression):
    """A task whose raw labels are lists of words."""

    def encode_labels(self, labels, records):
        counts = labels.row_lengths().numpy().astype("float32")
        return mtl.tasks.EncodedLabels(counts, np.ones(len(counts), "float32"))


def test_a_task_may_encode_its_labels_itself():
    data = records(words=[["she", "saw", "him"], ["saw"]], count=[["a", "b"], []])
    assert [values for values, _ in rows_of(data, Counting("count"))] == [2, 0]
