"""Labels that are names of classes: the same training as with class indices."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

TOPICS, TAGS = ["news", "sport", "art"], ["O", "B-place", "I-place"]
TOPIC, TAG = np.array([0, 2, 1, 1, 0]), np.array([[0, 1], [1, 2], [0, 0], [1, 0], [0, 1]])
NAMES = {"topic": np.array(TOPICS)[TOPIC], "tags": np.array(TAGS, object)[TAG]}
IDS = np.arange(10).reshape(5, 2) + 1


def model():
    keras.utils.set_random_seed(1)
    trunk = mtl.trunks.HardSharing(mtl.encoders.RecurrentEncoder(12, dim=4, units=3, dropout=0.0))
    tasks = [mtl.tasks.Classification("topic", TOPICS), mtl.tasks.Tagging("tags", TAGS)]
    model = mtl.build_model(keras.Input((None,), dtype="int32"), trunk, tasks)
    model.compile("sgd")
    return model


def run(form, y):
    trained = model()
    if form == "data set":
        data = tf.data.Dataset.from_tensor_slices((IDS, y)).batch(2)
        return trained.fit(data, validation_data=data, verbose=0).history
    return trained.fit(IDS, y, validation_data=(IDS, y), batch_size=2, shuffle=False, verbose=0).history


@pytest.mark.parametrize("form", ["arrays", "data set"])
def test_names_train_as_indices_do(form):
    expected = run(form, {"topic": TOPIC, "tags": TAG})
    assert run(form, NAMES) == expected
    assert run(form, {"topic": TOPIC, "tags": NAMES["tags"]}) == expected


@pytest.mark.parametrize("form", ["arrays", "data set"])
def test_unknown_names(form):
    message = r"`y\['topic'\]` must hold.*'news'.*'sport'.*Received: \['sprot', ''\]\.$"
    with pytest.raises(ValueError, match=message):
        run(form, {**NAMES, "topic": np.array(["sprot", "", "news", "art", "news"])})


def test_names_as_tensors():
    tensors = {task: tf.constant(names) for task, names in NAMES.items()}
    expected = model().evaluate(IDS, {"topic": TOPIC, "tags": TAG}, verbose=0)
    assert model().evaluate(tf.constant(IDS), tensors, verbose=0) == expected
    with pytest.raises(ValueError, match=r"^`y\['topic'\]` must hold"):
        model().evaluate(tf.constant(IDS), {**tensors, "topic": tf.constant(["sprot"] * 5)}, verbose=0)


@pytest.mark.parametrize("form", ["arrays", "data set"])
def test_names_of_weight_0_may_be_anything(form):
    weight = {"topic": np.array([1.0, 0, 1, 0, 1], "float32")}

    def evaluate(topic):
        y = {"topic": np.array(topic), "tags": TAG}
        if form == "data set":
            return model().evaluate(tf.data.Dataset.from_tensor_slices((IDS, y, weight)).batch(2), verbose=0)
        return model().evaluate(IDS, y, sample_weight=weight, batch_size=2, verbose=0)

    assert evaluate(["news", "?", "sport", "", "news"]) == evaluate([0, 0, 1, 0, 0])


KINDS = ["new", "used", "rare"]
LISTS = [["used"], ["new", "rare"], [], ["rare", "rare"], ["new"]]
CELLS = np.array([[0, 1, 0], [1, 0, 1], [0, 0, 0], [0, 0, 1], [1, 0, 0]], "float32")


def multi_label():
    keras.utils.set_random_seed(1)
    trunk = mtl.trunks.HardSharing(keras.layers.Dense(3))
    model = mtl.build_model(keras.Input((2,)), trunk, [mtl.tasks.MultiLabel("kinds", KINDS)])
    model.compile("sgd")
    return model


def array_of(lists):
    array = np.empty(len(lists), object)
    array[:] = lists
    return array


def padded(lists):
    return np.array([[*row, *[""] * (2 - len(row))] for row in lists])


FORMS = [padded, tf.ragged.constant, lambda lists: tf.constant(padded(lists))]


@pytest.mark.parametrize(("form", "is_dataset"), [(array_of, False), *itertools.product(FORMS, [False, True])])
def test_lists_of_names(form, is_dataset):
    weight = {"kinds": np.array([1.0, 2, 1, 1, 0], "float32")}

    def evaluate(kinds):
        x, y = IDS.astype("float32"), {"kinds": kinds}
        if is_dataset:
            return multi_label().evaluate(tf.data.Dataset.from_tensor_slices((x, y, weight)).batch(2), verbose=0)
        return multi_label().evaluate(x, y, sample_weight=weight, batch_size=2, verbose=0)

    assert evaluate(form(LISTS)) == evaluate(CELLS)
    assert evaluate(form([*LISTS[:4], ["anything"]])) == evaluate(CELLS)
    with pytest.raises(ValueError, match=r"`y\['kinds'\]` must hold.*mean 'used'.*Received: \['usde'\]"):
        evaluate(form([["usde"], *LISTS[1:]]))


def test_a_missing_list_is_not_an_empty_one():
    x, y = IDS.astype("float32"), {"kinds": array_of([None, *LISTS[1:]])}
    with pytest.raises(ValueError, match=r"Give missing labels the weight 0. Received: \[None\]"):
        multi_label().evaluate(x, y, verbose=0)
    weight = {"kinds": np.array([0.0, 1, 1, 1, 1])}
    cells = multi_label().evaluate(x, {"kinds": CELLS}, sample_weight=weight, verbose=0)
    assert multi_label().evaluate(x, y, sample_weight=weight, verbose=0) == cells
