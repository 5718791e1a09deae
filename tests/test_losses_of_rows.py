"""Losses that compare the rows of a batch are refused where rows are divided, or left out."""

import keras
import numpy as np
import pytest

import tf_mtl as mtl

X = np.random.default_rng(0).normal(size=(16, 8)).astype("float32")
Y = {"match": np.zeros(16), "price": X[:, 0]}


class InBatchNegatives(keras.losses.Loss):
    """Cross-entropy of each row's query among the documents of all rows."""

    def call(self, y_true, y_pred):
        queries, documents = keras.ops.split(y_pred, 2, -1)
        scores = keras.ops.matmul(queries, keras.ops.transpose(documents))
        rows = keras.ops.arange(keras.ops.shape(scores)[0])
        return keras.losses.sparse_categorical_crossentropy(rows, scores, from_logits=True)


def model():
    keras.utils.set_random_seed(0)
    x = keras.Input((8,))
    h = keras.layers.Dense(8)(x)
    return mtl.MultiTaskModel(x, {"match": keras.layers.Dense(6)(h), "price": keras.layers.Dense(1)(h)})


def compiled(loss, **options):
    built = model()
    built.compile("sgd", {"match": loss, "price": "mse"}, **options)
    return built


@pytest.mark.parametrize("loss", [InBatchNegatives(), InBatchNegatives().call], ids=["class", "function"])
def test_a_loss_of_all_rows(loss):
    built = compiled(loss)
    outputs = built.predict(X, verbose=0)["match"].astype("float64")
    scores = outputs[:, :3] @ outputs[:, 3:].T
    expected = np.mean(np.log(np.exp(scores).sum(1)) - np.diag(scores))
    weight = {"price": np.arange(16) % 2}
    logs = built.evaluate(X, Y, sample_weight=weight, batch_size=16, verbose=0, return_dict=True)
    assert logs["match_loss"] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match=r"`loss\['match'\]` compares the rows.*accumulate=1"):
        compiled(loss, accumulate=2)
    with mtl.distribute.strategy("mirrored").scope():
        replicated = model()
    with pytest.raises(ValueError, match=r"`loss\['match'\]` compares the rows.*one device"):
        replicated.compile("sgd", {"match": loss, "price": "mse"})
    with pytest.raises(ValueError, match=r"`sample_weight\['match'\]` is not supported.*compares the rows"):
        built.fit(X, Y, sample_weight={"match": np.arange(16) % 2}, verbose=0)


@pytest.mark.parametrize(
    "loss",
    [
        lambda y, p: keras.ops.mean(keras.ops.abs(p), axis=-1) + 0 * y,
        lambda y, p: keras.losses.categorical_crossentropy(keras.ops.one_hot(keras.ops.cast(y, "int32"), 6), p),
        lambda y, p: keras.ops.softplus(-p[:, 0]),
    ],
)
def test_a_loss_of_single_rows(loss):
    assert np.isfinite(compiled(loss, accumulate=2).fit(X, Y, verbose=0).history["loss"]).all()
