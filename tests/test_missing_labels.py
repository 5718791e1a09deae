import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl._engine.masked_losses import clean_labels, weighted_sums
from tf_mtl._shapes import masked_weight


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_losses_metrics_and_gradients_use_labelled_rows_only():
    """One SGD step, compared with loss, metric and gradient of the labelled rows in NumPy."""
    x, y, weight = small_models.ragged_data()
    model = small_models.model()
    model.compile(keras.optimizers.SGD(0.1), loss=small_models.LOSS, metrics={"topic": ["accuracy"], "price": ["mae"]})
    paths = [f"{layer}/{name}" for layer in ("encoder", "topic", "price") for name in ("kernel", "bias")]
    values = {v.path: v for v in model.variables}
    (w0, b0, wt, bt, wp, bp) = before = [values[path].numpy().astype("float64") for path in paths]
    logs = model.fit(x, y, sample_weight=weight, batch_size=len(x), shuffle=False, verbose=0).history

    h = np.tanh(x @ w0 + b0)
    t, p = weight["topic"] > 0, weight["price"] > 0
    probability = softmax(h[t] @ wt + bt)
    labels = y["topic"][t]
    topic_loss = -np.log(probability[np.arange(t.sum()), labels]).mean()
    error = (h[p] @ wp + bp)[:, 0] - y["price"][p]
    assert logs["topic_loss"][0] == pytest.approx(topic_loss, rel=1e-5)
    assert logs["price_loss"][0] == pytest.approx((error**2).mean(), rel=1e-5)
    assert logs["loss"][0] == pytest.approx(topic_loss + (error**2).mean(), rel=1e-5)
    assert logs["topic_accuracy"][0] == pytest.approx((probability.argmax(-1) == labels).mean(), rel=1e-6)
    assert logs["price_mae"][0] == pytest.approx(np.abs(error).mean(), rel=1e-5)

    dz = (probability - np.eye(3)[labels]) / t.sum()
    de = 2 * error[:, None] / p.sum()
    dh = np.zeros_like(h)
    dh[t] += dz @ wt.T
    dh[p] += de @ wp.T
    da = dh * (1 - h**2)
    gradients = [x.T @ da, da.sum(0), h[t].T @ dz, dz.sum(0), h[p].T @ de, de.sum(0)]
    for path, value, gradient in zip(paths, before, gradients, strict=True):
        after = values[path].numpy()
        np.testing.assert_allclose(after, value - 0.1 * gradient, rtol=1e-5, atol=1e-6, err_msg=path)


@pytest.mark.parametrize("method", ["equal", small_models.InverseNorm, small_models.Normalised])
@pytest.mark.parametrize("gradients", ["parameters", "features"])
def test_missing_labels_keep_everything_finite(method, gradients):
    model = small_models.model()
    method = method if isinstance(method, str) else method()
    model.compile("adam", loss=small_models.LOSS, balancing=method, gradients=gradients)
    logs = model.fit(small_models.batches(small_models.ragged_data()), epochs=3, verbose=0).history
    assert all(np.isfinite(values).all() for values in logs.values())
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_an_epoch_of_ragged_batches_counts_every_label_once():
    """The mean of batch means would differ; both are checked."""
    x, y, weight = small_models.ragged_data(rows=37)
    model = small_models.model()
    model.compile("sgd", loss=small_models.LOSS)
    in_one_batch = model.evaluate(x, y, sample_weight=weight, batch_size=37, verbose=0, return_dict=True)
    in_small_batches = model.evaluate(x, y, sample_weight=weight, batch_size=8, verbose=0, return_dict=True)
    batch_losses = [
        model.evaluate(*batch[:2], sample_weight=batch[2], verbose=0, return_dict=True)["price_loss"]
        for batch in small_models.batches((x, y, weight))
    ]
    assert in_small_batches == pytest.approx(in_one_batch, rel=1e-5)
    assert np.mean(batch_losses) != pytest.approx(in_one_batch["price_loss"], rel=1e-3)


OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(),
    "adamw": lambda: keras.optimizers.AdamW(),
    "sgd": lambda: keras.optimizers.SGD(momentum=0.9, weight_decay=0.1),
    "ema": lambda: keras.optimizers.Adam(use_ema=True),
    "rmsprop": lambda: keras.optimizers.RMSprop(momentum=0.9, centered=True),
    "adafactor": lambda: keras.optimizers.Adafactor(),
    "ftrl": lambda: keras.optimizers.Ftrl(),
    "muon": lambda: keras.optimizers.Muon(),
    "loss scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("method", ["equal", small_models.SumOfGradients])
def test_a_batch_without_labels_does_not_change_own_variables_and_slots(optimizer, method):
    x, y, weight = small_models.ragged_data()
    model = small_models.model()
    optimizer = OPTIMIZERS[optimizer]()
    model.compile(optimizer, loss=small_models.LOSS, balancing=method if isinstance(method, str) else method())
    model.fit(x, y, sample_weight=weight, epochs=2, verbose=0)  # the slots are no longer zero

    def own_values():
        variables = [v for v in [*model.variables, *optimizer.variables] if "topic" in v.path]
        return {v.path: v.numpy() for v in variables}

    def other_values():
        return {v.path: v.numpy() for v in model.variables if "topic" not in v.path}

    before, others_before = own_values(), other_values()
    assert len(before) > 2
    rows = slice(8, 16)
    assert not weight["topic"][rows].any()
    model.fit(
        x[rows],
        {t: v[rows] for t, v in y.items()},
        sample_weight={t: w[rows] for t, w in weight.items()},
        verbose=0,
    )
    for path, value in own_values().items():
        np.testing.assert_array_equal(value, before[path], err_msg=path)
    assert all((value != others_before[path]).any() for path, value in other_values().items())


def test_a_head_with_batch_normalization_and_dropout_does_not_change():
    x = keras.Input((6,))
    h = keras.layers.Dense(4)(x)
    own = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization(name="own")(h))
    model = mtl.MultiTaskModel(x, {"a": keras.layers.Dense(1)(own), "b": keras.layers.Dense(1)(h)})
    model.compile("adam", loss="mse")
    data = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
    y = {"a": np.full(8, np.nan), "b": np.ones(8)}
    variables = mtl.partition(model).own["a"]
    assert len(variables) == 7  # gamma, beta, mean, variance, dropout's seed, kernel, bias
    before = [v.numpy() for v in variables]
    model.fit(data, y, sample_weight={"a": np.zeros(8), "b": np.ones(8)}, verbose=0)
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)
    model.fit(data, {"a": np.ones(8), "b": np.ones(8)}, verbose=0)
    assert all((v.numpy() != value).any() for v, value in zip(variables, before, strict=True))


def test_weighted_metrics_count_by_weight_and_metrics_once():
    x, y = small_models.full_data(rows=4)
    weight = np.array([2.0, 1.0, 0.0, 0.5], "float32")
    model = small_models.model()
    model.compile(
        "sgd",
        loss=small_models.LOSS,
        metrics={"topic": [], "price": ["mae"]},
        weighted_metrics={"price": [keras.metrics.MeanAbsoluteError(name="mae")]},
    )
    logs = model.evaluate(x, y, sample_weight={"topic": np.ones(4), "price": weight}, verbose=0, return_dict=True)
    error = np.abs(model.predict(x, verbose=0)["price"][:, 0] - y["price"])
    assert logs["price_mae"] == pytest.approx(error[weight > 0].mean(), rel=1e-5)
    assert logs["price_weighted_mae"] == pytest.approx((error * weight).sum() / weight.sum(), rel=1e-5)
    assert logs["price_loss"] == pytest.approx((error**2 * weight).sum() / weight.sum(), rel=1e-5)


def test_ignore_class_and_masks_are_missing_labels():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-100)
    logits = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    y = np.array([[1, -100, 2], [0, 3, -100]])
    labels, weight = clean_labels(loss, y, None)
    mask = tf.constant([[True, True, True], [False, True, True]])
    total, count = weighted_sums("a", loss, labels, tf.constant(logits), masked_weight(weight, mask))
    p = softmax(logits.astype("float64"))
    expected = -np.log([p[0, 0, 1], p[0, 2, 2], p[1, 1, 3]])
    assert float(count) == 3
    assert float(total) == pytest.approx(expected.sum(), rel=1e-5)


def test_cells_of_a_row_may_be_missing():
    model = mtl.build_model(
        keras.Input((3,)),
        mtl.trunks.HardSharing(keras.layers.Dense(4)),
        [mtl.tasks.MultiLabel("tags", labels=2), mtl.tasks.Regression("r")],
    )
    model.compile("sgd")
    data = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    y = {"tags": np.array([[1, 0], [np.nan, 1], [0, np.nan], [1, 1]]), "r": np.zeros(4)}
    cells = np.array([[1, 1], [0, 1], [1, 0], [1, 1]], "float32")
    logs = model.evaluate(data, y, sample_weight={"tags": cells, "r": np.ones(4)}, verbose=0, return_dict=True)
    z = model.predict(data, verbose=0)["tags"].astype("float64")
    target = np.nan_to_num(y["tags"])
    cell_losses = np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0) - z * target
    assert logs["tags_loss"] == pytest.approx((cell_losses * cells).sum() / cells.sum(), rel=1e-5)


@pytest.mark.parametrize("method", ["uncertainty", "imtl_loss", "imtl"])
@pytest.mark.parametrize("optimizer", [keras.optimizers.AdamW, keras.optimizers.Adafactor])
def test_learned_weights_of_tasks_without_labels_do_not_change(method, optimizer):
    """Momentum and weight decay do not change them either."""
    model = small_models.model()
    model.compile(optimizer(0.1), loss=small_models.LOSS, balancing=method)
    x, y, weight = small_models.ragged_data()
    model.fit(
        x[16:24], {t: v[16:24] for t, v in y.items()}, sample_weight={t: w[16:24] for t, w in weight.items()}, verbose=0
    )
    (learned,) = model.balancing.trainable_variables
    before = learned.numpy()
    assert np.abs(before).min() > 0
    model.fit(
        x[8:16], {t: v[8:16] for t, v in y.items()}, sample_weight={t: w[8:16] for t, w in weight.items()}, verbose=0
    )
    topic_unchanged, price_unchanged = learned.numpy() == before
    assert topic_unchanged
    assert not price_unchanged
