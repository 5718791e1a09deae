"""One replica or two: the same weights, losses and metrics."""

import examples
import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

WORDS = ["red", "blue", "green", "one", "two", "three"]
WAYS = [
    ("equal", "parameters"),
    (examples.LearnedWeights, "parameters"),
    (examples.InverseNorm, "parameters"),
    (examples.InverseNorm, "features"),
    (examples.Normalised, "parameters"),
    (examples.Normalised, "features"),
]


def train(strategy, method, gradients):
    """Train on sentences, as strings, with uneven missing labels and a smaller last batch."""
    _, y, weight = examples.ragged_data(rows=39)
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
            loss=examples.LOSS,
            metrics={
                "topic": ["accuracy", mtl.metrics.MacroF1(3)],
                "price": ["mae", mtl.metrics.Pearson(), mtl.metrics.Spearman(-3, 3)],
            },
            balancing=method if isinstance(method, str) else method(),
            gradients=gradients,
        )
    data = examples.batches((text, y, weight))
    logs = model.fit(data, epochs=3, verbose=0, validation_data=data).history
    return model, logs


@pytest.mark.parametrize(("method", "gradients"), WAYS)
def test_two_replicas_equal_one(method, gradients):
    one, one_logs = train(tf.distribute.get_strategy(), method, gradients)
    two, two_logs = train(mtl.distribute.strategy("mirrored"), method, gradients)
    assert two.distribute_strategy.num_replicas_in_sync == 2
    assert examples.largest_difference(one.get_weights(), two.get_weights()) < 1e-5
    assert one_logs.keys() == two_logs.keys()
    for name, values in one_logs.items():
        np.testing.assert_allclose(two_logs[name], values, rtol=1e-5, atol=1e-6, err_msg=name)
    for a, b in zip(one.balancing.variables, two.balancing.variables, strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-5)


def test_predictions_of_two_replicas_come_in_order():
    one, _ = train(tf.distribute.get_strategy(), "equal", "parameters")
    two, _ = train(mtl.distribute.strategy("mirrored"), "equal", "parameters")
    text = tf.data.Dataset.from_tensor_slices(WORDS).batch(4)
    expected = one.predict(text, verbose=0)
    for task, found in two.predict(text, verbose=0).items():
        np.testing.assert_allclose(found, expected[task], rtol=1e-4, atol=1e-6)


def test_a_batch_without_labels_leaves_own_variables_on_every_replica():
    strategy = mtl.distribute.strategy("mirrored")
    x, y, weight = examples.ragged_data()
    with strategy.scope():
        model = examples.model()
        optimizer = keras.optimizers.AdamW()
        model.compile(optimizer, loss=examples.LOSS)
    model.fit(x, y, sample_weight=weight, verbose=0)

    def own():
        found = [v for v in [*model.variables, *optimizer.variables] if "topic" in v.path]
        return [strategy.experimental_local_results(v.value)[i].numpy() for v in found for i in (0, 1)]

    before = own()
    data = examples.batches((x, y, weight)).skip(1).take(1)
    model.fit(data, verbose=0)
    assert len(before) == 12
    for value, expected in zip(own(), before, strict=True):
        np.testing.assert_array_equal(value, expected)
