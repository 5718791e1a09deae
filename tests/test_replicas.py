"""One replica or two: the same weights, losses and metrics."""

import functools

import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

import tf_mtl as mtl

WORDS = ["red", "blue", "green", "one", "two", "three"]
METHODS_AND_GRADIENTS = [
    ("equal", "parameters"),
    pytest.param(small_models.LearnedWeights, "parameters", marks=pytest.mark.slow),
    pytest.param(small_models.InverseNorm, "parameters", marks=pytest.mark.slow),
    pytest.param(small_models.InverseNorm, "features", marks=pytest.mark.slow),
    pytest.param(small_models.Normalised, "parameters", marks=pytest.mark.slow),
    (small_models.Normalised, "features"),
]


@functools.cache
def train(name, method, gradients):
    """Train on sentences, as strings, with uneven missing labels and a smaller last batch."""
    strategy = mtl.distribute.strategy(name)
    _, y, weight = small_models.ragged_data(rows=39)
    text = np.array([" ".join(np.random.default_rng(i).choice(WORDS, 4)) for i in range(39)])
    keras.utils.set_random_seed(3)
    with strategy.scope():
        x = keras.Input((), dtype="string", name="text")
        ids = keras.layers.TextVectorization(vocabulary=WORDS, output_sequence_length=4)(x)
        h = keras.layers.Flatten()(keras.layers.Embedding(8, 6)(ids))
        h = keras.layers.Dense(8, activation="tanh", kernel_regularizer="l2")(h)
        model = mtl.MultiTaskModel(
            x, {"topic": keras.layers.Dense(3, name="topic")(h), "price": keras.layers.Dense(1, name="price")(h)}
        )
        model.compile(
            keras.optimizers.AdamW(0.01),
            loss=small_models.LOSS,
            metrics={
                "topic": ["accuracy", mtl.metrics.MacroF1(3)],
                "price": ["mae", mtl.metrics.Pearson(), mtl.metrics.Spearman(-3, 3)],
            },
            balancing=method if isinstance(method, str) else method(),
            gradients=gradients,
        )
    data = small_models.batches((text, y, weight))
    logs = model.fit(data, epochs=3, verbose=0, validation_data=data).history
    return model, logs


@pytest.mark.parametrize(("method", "gradients"), METHODS_AND_GRADIENTS)
def test_two_replicas_equal_one(method, gradients):
    one, one_logs = train("one_device", method, gradients)
    two, two_logs = train("mirrored", method, gradients)
    assert two.distribute_strategy.num_replicas_in_sync == 2
    assert small_models.largest_difference(one.get_weights(), two.get_weights()) < 1e-5
    assert one_logs.keys() == two_logs.keys()
    for name, values in one_logs.items():
        np.testing.assert_allclose(two_logs[name], values, rtol=1e-5, atol=1e-6, err_msg=name)
    for a, b in zip(one.balancing.variables, two.balancing.variables, strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-5)


def test_predictions_of_two_replicas_keep_the_order_of_rows():
    one, _ = train("one_device", "equal", "parameters")
    two, _ = train("mirrored", "equal", "parameters")
    text = tf.data.Dataset.from_tensor_slices(WORDS).batch(4)
    expected = one.predict(text, verbose=0)
    for task, outputs in two.predict(text, verbose=0).items():
        np.testing.assert_allclose(outputs, expected[task], rtol=1e-4, atol=1e-6)


def test_a_batch_without_labels_changes_own_variables_on_no_replica():
    strategy = mtl.distribute.strategy("mirrored")
    x, y, weight = small_models.ragged_data()
    with strategy.scope():
        model = small_models.model()
        optimizer = keras.optimizers.AdamW()
        model.compile(optimizer, loss=small_models.LOSS)
    model.fit(x, y, sample_weight=weight, verbose=0)

    def own_values():
        variables = [v for v in [*model.variables, *optimizer.variables] if "topic" in v.path]
        return [strategy.experimental_local_results(v.value)[i].numpy() for v in variables for i in (0, 1)]

    before = own_values()
    data = small_models.batches((x, y, weight)).skip(1).take(1)
    model.fit(data, verbose=0)
    assert len(before) == 12
    for value, expected in zip(own_values(), before, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_infinite_gradients_on_the_second_replica_skip_the_step_of_float16():
    strategy = mtl.distribute.strategy("mirrored")
    x, y = small_models.full_data()
    x[-1] = 6e4  # in the second replica's rows
    keras.config.set_dtype_policy("mixed_float16")
    try:
        with strategy.scope():
            model = small_models.model()
            model.compile(keras.optimizers.SGD(0.1), loss=small_models.LOSS)
    finally:
        keras.config.set_dtype_policy("float32")
    before = model.get_weights()
    y["price"][-1] = 6e4
    model.fit(small_models.batches((x, y), 40), verbose=0)
    for value, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, expected)
    x, y = small_models.full_data()
    logs = model.fit(small_models.batches((x, y), 40).repeat(8), verbose=0).history
    assert np.isfinite(logs["loss"]).all()
    assert small_models.largest_difference(model.get_weights(), before) > 1e-3


def test_evaluation_counts_each_row_once_when_replicas_have_no_rows():
    x, y = small_models.full_data(rows=9)
    one = small_models.model()
    one.compile("sgd", loss=small_models.LOSS, metrics={"topic": [Count()], "price": []})
    with mtl.distribute.strategy("mirrored").scope():
        two = small_models.model()
        two.compile("sgd", loss=small_models.LOSS, metrics={"topic": [Count()], "price": []})
    for size in (1, 4, 9):  # one row for two replicas; three batches, the last with one row; replicas with 5 and 4 rows
        data = small_models.batches((x, y), size)
        expected, logs = (model.evaluate(data, verbose=0, return_dict=True) for model in (one, two))
        assert logs["topic_count"] == expected["topic_count"] == 9
        for name, value in expected.items():
            assert logs[name] == pytest.approx(value, rel=1e-5)
        predictions = [model.predict(data, verbose=0)["topic"] for model in (one, two)]
        np.testing.assert_allclose(*predictions, rtol=1e-5, atol=1e-6)


@keras.saving.register_keras_serializable("tests")
class Count(keras.metrics.Sum):
    """Counts the rows, or sums their weights."""

    def __init__(self, name="count", **kwargs):
        super().__init__(name=name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        rows = tf.ones(tf.shape(y_true)[0])
        return super().update_state(rows if sample_weight is None else rows * tf.reshape(sample_weight, [-1]))


@pytest.mark.parametrize(
    ("balancing", "gradients", "large"),
    [("equal", "parameters", [92]), ("upgrad", "parameters", [2 * 56 + 36]), ("upgrad", "features", [92, 4])],
)
def test_a_step_sums_few_large_tensors_over_the_replicas(monkeypatch, balancing, gradients, large):
    """P = 92 gradient entries, 56 of them for shared variables; two small sums of [T], and the metrics at the end."""
    all_reduce, sizes = tf.distribute.ReplicaContext.all_reduce, []

    def recording_all_reduce(context, operation, value):
        sizes.append(value.shape.num_elements())
        return all_reduce(context, operation, value)

    monkeypatch.setattr(tf.distribute.ReplicaContext, "all_reduce", recording_all_reduce)
    with mtl.distribute.strategy("mirrored").scope():
        model = small_models.model()
        model.compile("sgd", loss=small_models.LOSS, balancing=balancing, gradients=gradients)
    assert sum(v.numpy().size for v in mtl.partition(model).shared) == 56
    model.train_on_batch(*small_models.full_data(8))
    metrics = sum(v.numpy().size for metric in model.metrics for v in metric.variables)
    assert sorted(sizes) == sorted(2 * [2, 2, *large, metrics])  # each of two replicas calls once
