"""Inputs that tasks add: filled in training from labels, and not needed in answers and exports."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

TAGS = ["O", "B-person", "I-person"]
TEXTS = ["she saw him", "him saw", "saw", "she him saw him"]


def words():
    return mtl.text.Words(["she", "saw", "him"], length=4)


def build(rate=0.05, tasks=("entities", "relations"), **kwargs):
    made = [
        mtl.tasks.Tagging("entities", labels=TAGS),
        mtl.tasks.Relations("relations", ["knows"], TAGS, units=4),
    ]
    encoder = mtl.encoders.RecurrentEncoder(words().vocabulary_size, dim=6, units=6, dropout=0.0)
    model = mtl.build_model(words().inputs(), mtl.trunks.HardSharing(encoder), made)
    model.compile(keras.optimizers.SGD(rate), **kwargs)
    return model


def data():
    rng = np.random.default_rng(3)
    x = {name: value.numpy() for name, value in words()(tf.constant(TEXTS)).items()}
    tags = rng.integers(0, 3, (4, 4)).astype("int32")
    cells = rng.integers(0, 2, (4, 4, 4, 1)).astype("float32")
    weight = np.array([[1, 1, 0, 1], [1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], "float32")
    return x, {"entities": tags, "relations": cells}, {"entities": weight}


def relation_loss(model, x, y):
    """The loss of relations for given inputs, from their definition."""
    logits = model(x, training=False)["relations"].numpy().astype("float64")
    valid, logits = logits[..., 0] > -1e8, logits[..., 0]
    losses = np.logaddexp(0, logits) - y["relations"][..., 0] * logits
    return losses[valid].mean()


def test_training_reads_labels_and_evaluation_reads_predictions():
    model, (x, y, weight) = build(rate=0.0), data()
    gold = np.where(weight["entities"] > 0, y["entities"], -1)
    with_labels, with_predictions = relation_loss(model, {**x, "relations_tags": gold}, y), relation_loss(model, x, y)
    assert abs(with_labels - with_predictions) > 1e-3
    batches = tf.data.Dataset.from_tensors((x, y, weight))
    for given in ((x, y), (batches, None)):
        kwargs = {"sample_weight": weight} if given[1] is not None else {}
        logs = model.fit(*given, verbose=0, validation_data=batches, batch_size=4, **kwargs).history
        assert logs["relations_loss"][0] == pytest.approx(with_labels, rel=1e-5)
        assert logs["val_relations_loss"][0] == pytest.approx(with_predictions, rel=1e-5)
        result = model.evaluate(*given, verbose=0, return_dict=True, **kwargs)
        assert result["relations_loss"] == pytest.approx(with_predictions, rel=1e-5)
    trained = model.train_on_batch(x, y, weight, return_dict=True)
    tested = model.test_on_batch(x, y, weight, return_dict=True)
    assert trained["relations_loss"] == pytest.approx(with_labels, rel=1e-5)
    assert tested["relations_loss"] == pytest.approx(with_predictions, rel=1e-5)


def test_rows_split_off_for_validation_read_predictions():
    model, (x, y, weight) = build(rate=0.0), data()
    last = {name: value[2:] for name, value in x.items()}
    logs = model.fit(x, y, sample_weight=weight, validation_split=0.5, verbose=0).history
    expected = relation_loss(model, last, {name: value[2:] for name, value in y.items()})
    assert logs["val_relations_loss"][0] == pytest.approx(expected, rel=1e-5)


def test_inputs_in_the_data_remain():
    model, (x, y, weight) = build(rate=0.0), data()
    x = {**x, "relations_tags": np.zeros((4, 4), "int32")}
    logs = model.fit(x, y, sample_weight=weight, verbose=0, batch_size=4).history
    assert logs["relations_loss"][0] == pytest.approx(relation_loss(model, x, y), rel=1e-5)


@pytest.mark.parametrize("gradients", ["parameters", "features"])
def test_a_task_without_the_labels_it_reads_trains_on_predictions(gradients):
    model, (x, y, weight) = build(balancing="upgrad", gradients=gradients), data()
    model.fit(x, y, sample_weight=weight, verbose=0)
    single = model.single_task("relations")
    single.compile(keras.optimizers.SGD(0.0))
    logs = single.fit(x, {"relations": y["relations"]}, verbose=0).history
    assert logs["relations_loss"][0] == pytest.approx(relation_loss(model, x, y), rel=1e-5)


def test_saved_models_go_on_reading_labels(tmp_path):
    model, (x, y, weight) = build(), data()
    model.fit(x, y, sample_weight=weight, verbose=0, shuffle=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    histories = [each.fit(x, y, sample_weight=weight, verbose=0, epochs=2).history for each in (model, loaded)]
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-6)
    np.testing.assert_allclose(keras.models.clone_model(model)(x)["relations"].shape, (4, 4, 4, 2))


@pytest.mark.slow
def test_answers_and_exports_need_no_own_input(tmp_path):
    model, (x, _, _) = build(), data()
    answer = model.answer(TEXTS, words())
    alone = model.answer(x)
    np.testing.assert_array_equal(answer["relations"]["scores"], alone["relations"]["scores"])
    path = mtl.export.saved_model(model, tmp_path, preprocessor=words(), signatures="per_task", warmup=TEXTS)
    served = tf.saved_model.load(path).signatures
    inputs = served["tensors_relations"].structured_input_signature[1]
    assert "relations_tags" not in inputs
    assert "token_ids" in inputs
    scores = served["relations"](text=tf.constant(TEXTS))["relations_scores"]
    np.testing.assert_allclose(scores, answer["relations"]["scores"], rtol=1e-5)


def test_sharing_counts_the_task_alone():
    sharing = build().describe_sharing(None)
    assert sharing.single_task["relations"] > sharing.single_task["entities"]


class Previous(mtl.tasks.SequenceTask):
    """Scores the labels of words, given the label of the word before, in training and evaluation."""

    output_units = 3
    loss = mtl.losses.ClassCrossentropy()

    def own_inputs(self):
        return {"previous": keras.Input((None,), dtype="int32", name="previous", optional=True)}

    def fill_own_inputs(self, labels, training):
        y, _ = labels[self.name]
        return {"previous": tf.pad(tf.cast(y, tf.int32)[:, :-1], [[0, 0], [1, 0]])}

    def head(self, features):
        return super().head({**features, self.features: AddPrevious()(features[self.features], features["previous"])})

    def metrics(self):
        return []

    def decode(self, output):
        return {"label": tf.argmax(output, -1), "score": tf.reduce_max(output, -1)}


class AddPrevious(keras.layers.Layer):
    """Adds one number for each previous label."""

    def call(self, x, previous=None):
        if previous is None:
            return x
        return x + keras.ops.one_hot(previous, x.shape[-1])

    def compute_output_shape(self, x_shape, previous_shape=None):
        return x_shape


def test_the_own_input_of_a_user_s_task_is_filled_in_evaluation_too():
    encoder = mtl.encoders.RecurrentEncoder(words().vocabulary_size, dim=6, units=6, dropout=0.0)
    model = mtl.build_model(words().inputs(), mtl.trunks.HardSharing(encoder), [Previous("tags")])
    model.compile(keras.optimizers.Adam(0.1))
    x, y, _ = data()
    y = {"tags": y["entities"]}
    history = model.fit(x, y, verbose=0, epochs=2).history
    assert history["loss"][1] < history["loss"][0]
    previous = np.pad(y["tags"][:, :-1], [[0, 0], [1, 0]])
    logits = model({**x, "previous": previous})["tags"].numpy()
    valid = logits[..., 0] > -1e8
    losses = keras.losses.sparse_categorical_crossentropy(y["tags"], logits, from_logits=True).numpy()
    assert model.evaluate(x, y, verbose=0)[0] == pytest.approx(losses[valid].mean(), rel=1e-5)


def test_own_inputs_need_a_dict_of_inputs():
    task = Previous("tags")
    with pytest.raises(ValueError, match=r"`inputs` must be a dict .* tasks add the inputs \['previous'\]"):
        mtl.build_model(keras.Input((4, 8)), mtl.trunks.HardSharing(lambda x: {"sequence": x}), [task])
    inputs = {"previous": keras.Input((4, 8), name="previous")}
    with pytest.raises(ValueError, match="rename 'previous'"):
        mtl.build_model(inputs, mtl.trunks.HardSharing(lambda x: {"sequence": x["previous"]}), [task])
    model, (x, y, _) = build(), data()
    with pytest.raises(ValueError, match="`x` must be a dict {input: values}"):
        model.fit(list(x.values()), y, verbose=0)
