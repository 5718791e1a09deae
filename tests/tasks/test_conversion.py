"""Conversions: the loss in log space, who trains what, the labels of clicks, and metrics on the right rows."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

FIXTURE = json.loads((Path(__file__).parent / "esmm.json").read_text())
ROWS = 64


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, "float64")))


def crossentropy(y, p):
    return -y * np.log(p) - (1 - y) * np.log1p(-p)


def tasks(**kwargs):
    return [
        mtl.tasks.BinaryClassification("click", hidden_units=4),
        mtl.tasks.Conversion("buy", after="click", hidden_units=4, **kwargs),
    ]


def build(compiled=True, balancing="equal", **kwargs):
    keras.utils.set_random_seed(0)
    inputs = {"x": keras.Input((6,), name="x")}
    encoder = keras.Model(inputs, keras.layers.Dense(8, "relu")(inputs["x"]))
    model = mtl.build_model(inputs, mtl.trunks.HardSharing(encoder), tasks(**kwargs))
    if compiled:
        model.compile(keras.optimizers.SGD(0.1), balancing=balancing)
    return model


def data(seed=0):
    rng = np.random.default_rng(seed)
    click = rng.integers(0, 2, ROWS)
    buy = click * rng.integers(0, 2, ROWS)
    return {"x": rng.normal(size=(ROWS, 6)).astype("float32")}, {"click": click, "buy": buy}


def test_loss_of_the_fixture_and_of_extreme_logits():
    outputs = np.stack([FIXTURE["click_logits"], FIXTURE["conversion_logits"], FIXTURE["click"]], 1).astype("float32")
    loss = mtl.losses.ConversionCrossentropy()
    np.testing.assert_allclose(
        loss.call(np.array(FIXTURE["conversion"]), outputs), FIXTURE["loss_click_and_conversion"], rtol=2e-6, atol=1e-7
    )
    rare = tf.constant([[-12.0, -11.0, 0], [90, 90, 1], [-90, 90, 0], [90, -90, 1]])
    with tf.GradientTape() as tape:
        tape.watch(rare)
        values = loss.call(tf.constant([0, 0, 0, 0]), rare)
    p = sigmoid([-12, 90, -90, 90]) * sigmoid([-11, 90, 90, -90])
    np.testing.assert_allclose(values[0], -np.log1p(-p[0]), rtol=1e-5)  # 1 - p is 1 in float32
    np.testing.assert_allclose(values[1:], [90, 0, 0], rtol=0.02, atol=1e-30)  # log 2 exp(-90)
    assert np.isfinite(tape.gradient(values, rare)).all()


def test_inverse_propensity():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 9)) * [[3], [1]]
    o = np.array([1, 1, 1, 1, 0, 0, 0, -1, -1.0])
    y = np.array([1, 0, 1, 0, 0, 0, 0, 0, 1.0])
    loss = mtl.losses.ConversionCrossentropy(propensity=0.5, clip=0.2)
    outputs = tf.constant(np.stack([a, b, o], 1), tf.float32)
    expected = crossentropy(y, sigmoid(a) * sigmoid(b))
    expected += 0.5 * np.maximum(o, 0) / np.maximum(sigmoid(a), 0.2) * crossentropy(y, sigmoid(b))
    np.testing.assert_allclose(loss.call(y, outputs), expected, rtol=1e-5)
    plain = gradient(mtl.losses.ConversionCrossentropy(), y, outputs)
    np.testing.assert_allclose(gradient(loss, y, outputs)[:, 0], plain[:, 0], rtol=1e-5)  # propensities are not trained
    restored = mtl.losses.ConversionCrossentropy.from_config(loss.get_config())
    assert (restored.propensity, restored.clip) == (0.5, 0.2)
    with pytest.raises(ValueError, match="`clip`"):
        mtl.losses.ConversionCrossentropy(clip=0)


def gradient(loss, y, outputs):
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        values = loss.call(y, outputs)
    return tape.gradient(values, outputs)


@pytest.mark.parametrize("propensity", [0.0, 0.3])
def test_training_equals_plain_keras(propensity):
    model = build(propensity=propensity)
    x, y = data()
    plain = build(compiled=False, propensity=propensity)
    optimizer = keras.optimizers.SGD(0.1)
    for _ in range(3):
        model.train_on_batch(x, y)
        with tf.GradientTape() as tape:
            out = plain({**x, "buy_clicks": y["click"][:, None].astype("float32")}, training=True)
            p, cvr = tf.sigmoid(out["click"][:, 0]), tf.sigmoid(out["buy"][:, 1])
            click, buy = (tf.constant(y[task], tf.float32) for task in ("click", "buy"))
            bce = keras.losses.binary_crossentropy
            loss = bce(click, p) + bce(buy, p * cvr)  # means over the rows
            weight = click / tf.maximum(tf.stop_gradient(p), 0.05)
            loss += propensity * tf.reduce_mean(weight * bce(buy[:, None], cvr[:, None]))
        gradients = tape.gradient(loss, plain.trainable_variables)
        optimizer.apply(gradients, plain.trainable_variables)
    for variable, other in zip(model.trainable_variables, plain.trainable_variables, strict=True):
        np.testing.assert_allclose(variable, other, rtol=1e-4, atol=1e-5)


def test_whom_a_conversion_trains():
    x, y = data()
    only_buy = {"click": np.zeros(ROWS), "buy": np.ones(ROWS)}
    for stopped in (False, True):
        model = build(after_gradients=not stopped)
        before = model.get_layer("click").kernel.numpy()
        model.train_on_batch(x, y, only_buy)
        assert (model.get_layer("click").kernel.numpy() == before).all() == stopped
    assert [list(task.joined_tasks()) for task in model.tasks] == [[], []]
    with_topic = [
        *tasks()[:1],
        mtl.tasks.Regression("price", hidden_units=4),
        mtl.tasks.Conversion("buy", after={"click": "output", "price": "hidden"}),
    ]
    inputs = {"x": keras.Input((6,), name="x")}
    trunk = mtl.trunks.HardSharing(keras.Model(inputs, keras.layers.Dense(8)(inputs["x"])))
    joined = mtl.build_model(inputs, trunk, with_topic)
    assert joined.get_layer("buy_logit").kernel.shape == (12, 1)


def test_metrics_count_the_right_rows():
    model = build()
    x, y = data()
    weight = {"click": np.ones(ROWS), "buy": (np.arange(ROWS) % 3 > 0).astype("float32")}
    weight["click"][:5] = 0
    out = model.predict(x, verbose=0)
    assert (out["buy"][:, 2] == -1).all()  # predictions know no labels
    ctr, cvr = sigmoid(out["buy"][:, 0]), sigmoid(out["buy"][:, 1])
    result = model.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)
    counted = weight["buy"] > 0
    clicked = counted & (y["click"] > 0) & (weight["click"] > 0)
    expected = {}
    for name, p, rows in (("buy", ctr * cvr, counted), ("buy_cvr", cvr, clicked)):
        auc = keras.metrics.AUC()
        auc.update_state(y["buy"][rows], p[rows])
        expected[f"{name}_auc"] = float(auc.result())
        expected[f"{name}_calibration_error"] = abs(p[rows].sum() / y["buy"][rows].sum() - 1)
    mean = y["buy"][counted].mean()
    expected["buy_loss"] = crossentropy(y["buy"], ctr * cvr)[counted].mean()
    expected["buy_normalized_entropy"] = expected["buy_loss"] / crossentropy(mean, mean)
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, rel=1e-4, abs=2e-3 if name.endswith("auc") else 1e-6), name


def test_answers_saving_and_export(tmp_path):
    model = build()
    x, y = data()
    model.fit(x, y, verbose=0)
    out = model.predict(x, verbose=0)["buy"]
    answer = model.answer(x)["buy"]
    np.testing.assert_allclose(answer["ctcvr"], sigmoid(out[:, 0]) * sigmoid(out[:, 1]), rtol=1e-5)
    np.testing.assert_allclose(answer["ctr"], sigmoid(out[:, 0]), rtol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0)["buy"], out)
    assert loaded.tasks[1].get_config() == model.tasks[1].get_config()
    alone = model.single_task("buy")
    alone.compile("sgd")
    assert np.isfinite(alone.evaluate(x, {"buy": y["buy"]}, verbose=0, return_dict=True)["loss"])
    path = mtl.export.saved_model(model, tmp_path / "export", warmup={"x": x["x"][:2]}, check=False)
    served = tf.saved_model.load(str(path)).signatures["serving_default"](x=tf.constant(x["x"]))
    np.testing.assert_allclose(served["buy_ctcvr"], answer["ctcvr"], rtol=1e-5)


def test_distillation_and_results_without_conversions():
    task, rng = tasks()[1], np.random.default_rng(0)
    teacher, student = (tf.constant(rng.normal(size=(5, 3)), tf.float32) for _ in range(2))
    p = sigmoid(student[:, 0]) * sigmoid(student[:, 1])
    expected = crossentropy(sigmoid(teacher[:, 0]) * sigmoid(teacher[:, 1]), p)
    np.testing.assert_allclose(task.distillation_loss(teacher, student), expected, rtol=1e-5)
    for metric in (mtl.metrics.CalibrationError(), mtl.metrics.NormalizedEntropy()):
        assert np.isnan(metric.result())
        metric.update_state(np.zeros(3), np.full(3, 0.9))
        assert np.isnan(metric.result())  # not the best of results


def test_conversions_without_a_click():
    model = build()
    x, y = data()
    y["buy"][np.argmin(y["click"])] = 1
    with pytest.raises(ValueError, match="'buy' must be 0 where that of 'click' is 0"):
        model.fit(x, y, verbose=0)
    batches = tf.data.Dataset.from_tensors((x, y))
    with pytest.raises(ValueError, match="'buy' must be 0 where that of 'click' is 0"):
        model.fit(batches, verbose=0)
    unknown = {"click": y["click"].astype("float32")}  # a missing label of a click contradicts nothing
    model.fit(x, y, sample_weight={"click": unknown["click"]}, verbose=0)
    for after, message in (
        ((), "must begin with the click's task"),
        ({"click": "hidden"}, "must begin with the click's task"),
    ):
        with pytest.raises(ValueError, match=message):
            mtl.tasks.Conversion("buy", after=after)
    inputs = {"x": keras.Input((6,), name="x")}
    several = [mtl.tasks.Classification("click", 3), mtl.tasks.Conversion("buy", after="click")]
    trunk = mtl.trunks.HardSharing(keras.Model(inputs, keras.layers.Dense(8)(inputs["x"])))
    with pytest.raises(ValueError, match="must begin with a BinaryClassification"):
        mtl.build_model(inputs, trunk, several)
    with pytest.raises(ValueError, match="`over` must be"):
        mtl.metrics.OfConversion(keras.metrics.AUC(), over="click")


def test_two_replicas_equal_one_device():
    x, y = data()
    alone = build()
    alone.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    with mtl.distribute.strategy("mirrored").scope():
        model = build()
    model.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    for variable, other in zip(model.trainable_variables, alone.trainable_variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), other.numpy(), rtol=1e-5, atol=1e-6)
    one, two = (m.evaluate(x, y, batch_size=16, verbose=0, return_dict=True) for m in (alone, model))
    assert two == pytest.approx(one, rel=1e-4)
