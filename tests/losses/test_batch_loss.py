"""Losses that compare the rows of the global batch: label weights, replicas, and what is refused."""

import functools

import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

import tf_mtl as mtl

ROWS = 15  # two replicas get 8 and 7
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(ROWS, 8)).astype("float32")
Y = {"match": np.full(ROWS, np.nan, "float32"), "price": X[:, 0]}
WEIGHT = {"match": (np.arange(ROWS) % 3 > 0).astype("float32")}
Y["match"][WEIGHT["match"] > 0] = 0


class InBatchSoftmax(mtl.losses.BatchLoss):
    """Cross-entropy of each row's query among the documents of all labelled rows."""

    def call(self, y_true, y_pred, weight=None):
        queries, documents = tf.split(y_pred, 2, -1)
        scores = tf.matmul(queries, documents, transpose_b=True)
        if weight is not None:
            scores = tf.where(weight > 0, scores, -1e9)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.range(tf.shape(scores)[0]), scores)


def model(strategy="one_device"):
    keras.utils.set_random_seed(0)
    with mtl.distribute.strategy(strategy).scope():
        x = keras.Input((8,))
        h = keras.layers.Dense(8)(x)
        return mtl.MultiTaskModel(x, {"match": keras.layers.Dense(6)(h), "price": keras.layers.Dense(1)(h)})


def compiled(strategy="one_device", loss=None, **options):
    built = model(strategy)
    with built.distribute_strategy.scope():
        built.compile(keras.optimizers.SGD(0.1), {"match": loss or InBatchSoftmax(), "price": "mse"}, **options)
    return built


def expected_loss(outputs):
    rows = outputs[WEIGHT["match"] > 0].astype("float64")
    scores = rows[:, :3] @ rows[:, 3:].T
    return np.mean(np.log(np.exp(scores).sum(1)) - np.diag(scores))


@pytest.mark.parametrize("strategy", ["one_device", "mirrored"])
def test_unlabelled_rows_are_neither_positives_nor_negatives(strategy):
    built = compiled(strategy)
    logs = built.evaluate(X, Y, sample_weight=WEIGHT, batch_size=ROWS, verbose=0, return_dict=True)
    assert logs["match_loss"] == pytest.approx(expected_loss(built.predict(X, verbose=0)["match"]), rel=1e-5)


@functools.cache
def train(strategy, balancing, gradients, accumulate=1):
    built = compiled(strategy, balancing=balancing, gradients=gradients, accumulate=accumulate)
    data = (X, Y, WEIGHT)
    logs = built.fit(small_models.batches(data, ROWS), epochs=3, verbose=0).history
    return built.get_weights(), logs


@pytest.mark.parametrize(
    "way", [("equal", "parameters"), ("upgrad", "parameters"), ("upgrad", "features")], ids="-".join
)
def test_two_replicas_equal_one(way):
    weights, logs = train("one_device", *way)
    replicated, replicated_logs = train("mirrored", *way)
    assert small_models.largest_difference(weights, replicated) < 1e-5
    for name, values in logs.items():
        np.testing.assert_allclose(replicated_logs[name], values, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("strategy", "balancing"),
    [
        ("one_device", "equal"),
        ("mirrored", "equal"),
        ("one_device", "upgrad"),
        ("one_device", "famo"),
        ("one_device", "modo"),
    ],
)
def test_micro_batches_equal_the_whole_batch(strategy, balancing):
    weights, logs = train("one_device", balancing, "parameters")
    accumulated, accumulated_logs = train(strategy, balancing, "parameters", accumulate=3)
    assert small_models.largest_difference(weights, accumulated) < 1e-5
    for name, values in logs.items():
        np.testing.assert_allclose(accumulated_logs[name], values, rtol=1e-5, atol=1e-6, err_msg=name)


def test_one_gradient_step_against_numpy():
    """The gradient by the biases of the output, by finite differences of the expected loss."""
    built = compiled("mirrored", balancing=mtl.balancing.Fixed({"match": 1.0, "price": 0.0}))
    bias = built.trainable_variables[3]
    assert bias.shape == (6,)
    before, gradient = bias.numpy(), []
    for index in range(6):
        losses = []
        for step in (1e-2, -1e-2):
            bias.assign(before + step * np.eye(6)[index])
            losses.append(expected_loss(built.predict(X, verbose=0)["match"]))
        gradient.append((losses[0] - losses[1]) / 2e-2)
    bias.assign(before)
    built.fit(X, Y, sample_weight=WEIGHT, batch_size=ROWS, verbose=0)
    np.testing.assert_allclose((before - bias.numpy()) / 0.1, gradient, atol=2e-4)


def test_errors():
    class Scalar(mtl.losses.BatchLoss):
        def call(self, y_true, y_pred, weight=None):
            return tf.reduce_mean(y_pred)

    with pytest.raises(ValueError, match=r"`loss\['match'\]` must give one value per row.*shape \(\)"):
        compiled(loss=Scalar()).fit(X, Y, sample_weight=WEIGHT, verbose=0)
    cells = {**Y, "match": np.ones((ROWS, 6), "float32")}
    with pytest.raises(ValueError, match=r"`sample_weight\['match'\]`.*one value per row.*\(None, 6\)"):
        compiled().fit(X, cells, sample_weight={"match": cells["match"]}, verbose=0)
    with pytest.raises(ValueError, match=r"`sample_weight\['match'\]` has shape \(15, 6\).*labels of shape \(15,\)"):
        compiled().fit(X, Y, sample_weight={"match": cells["match"]}, verbose=0)


def test_teachers_are_not_supported():
    student = mtl.build_model(
        keras.Input((8,)),
        mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8])),
        [mtl.tasks.Regression("match"), mtl.tasks.Regression("price")],
    )
    apprentice = mtl.distill(student, {"match": student.single_task("match", copy=True)}, annealing_steps=5)
    apprentice.compile("sgd", {"match": InBatchSoftmax()}, run_eagerly=True)
    with pytest.raises(ValueError, match=r"`teachers\['match'\]` is not supported"):
        apprentice.fit(X, Y, sample_weight=WEIGHT, verbose=0)
