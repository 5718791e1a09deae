"""Labels and outputs whose ranks differ by an axis of size 1: losses and metrics compared with NumPy and Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4)).astype("float32")
Y = RNG.random(12).astype("float32")


def build(model_class=mtl.MultiTaskModel, rank=2):
    keras.utils.set_random_seed(2)
    x = keras.Input((4,))
    h = keras.layers.Dense(3, activation="tanh")(x)
    outputs = {name: keras.layers.Dense(1, activation="sigmoid")(h) for name in ("a", "b")}
    if rank == 1:
        outputs["a"] = keras.layers.Lambda(lambda p: p[:, 0], output_shape=())(outputs["a"])
    return model_class(x, outputs)


class Broadcasting(keras.losses.Loss):
    """Labels [B] minus outputs [B, 1] is [B, B]."""

    def call(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


class Selecting(keras.losses.Loss):
    """Made for labels [B] and outputs [B, 1]; labels [B, 1] would give [B, B]."""

    def call(self, y_true, y_pred):
        return keras.ops.square(y_true - y_pred[..., 0])


class Extending(keras.losses.Loss):
    """Made for labels [B] and outputs [B, 1]; labels [B, 1] would become [B, 1, 1]."""

    def call(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.square(keras.ops.expand_dims(y_true, -1) - y_pred), axis=-1)


def function(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


def selecting(y_true, y_pred):
    return keras.ops.abs(y_true - y_pred[:, 0])


def broadcasting(y_true, y_pred):
    return keras.ops.mean(keras.ops.abs(y_true - y_pred), axis=-1)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", [Broadcasting, Selecting, Extending, lambda: function, lambda: "mse"])
def test_losses_never_mix_rows(loss, weighted):
    model = build()
    model.compile("sgd", loss=loss(), metrics={"a": [selecting, broadcasting, "mae"], "b": []})
    weight = {"a": np.arange(12) % 2, "b": np.ones(12)} if weighted else None
    kept = np.arange(12) % 2 == 1 if weighted else np.ones(12, bool)
    error = (model.predict(X, verbose=0)["a"][:, 0] - Y)[kept]
    for data in ((X, {"a": Y, "b": Y}), (tf.data.Dataset.from_tensor_slices((X, {"a": Y, "b": Y})).batch(5),)):
        if len(data) == 2:
            results = model.evaluate(*data, sample_weight=weight, verbose=0, return_dict=True)
        elif weighted:
            continue
        else:
            results = model.evaluate(*data, verbose=0, return_dict=True)
        assert results["a_loss"] == pytest.approx((error**2).mean(), rel=1e-5)
        for name in ("selecting", "broadcasting", "mae"):
            assert results[f"a_{name}"] == pytest.approx(np.abs(error).mean(), rel=1e-5), name


class OwnMetric(keras.metrics.Mean):
    """A metric of a user, made for labels [B] and outputs [B, 1] or [B]."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        error = keras.ops.abs(y_true - keras.ops.reshape(y_pred, (-1,)))
        super().update_state(error, sample_weight)


@pytest.mark.parametrize("rank", [1, 2])
def test_a_metric_class_of_the_user_gets_labels_as_given(rank):
    model = build(rank=rank)
    model.compile("sgd", loss="mse", metrics={"a": [OwnMetric(name="own")], "b": []})
    weight = np.arange(12) % 3
    results = model.evaluate(
        X, {"a": Y, "b": Y}, sample_weight={"a": weight, "b": np.ones(12)}, verbose=0, return_dict=True
    )
    error = np.abs(model.predict(X, verbose=0)["a"].reshape(-1) - Y)
    assert results["a_own"] == pytest.approx(error[weight > 0].mean(), rel=1e-5)


@pytest.mark.parametrize("loss", ["mse", "binary_crossentropy", Broadcasting])
def test_an_output_without_last_axis_trains_as_in_keras(loss):
    y = {"a": Y, "b": Y[:, None]}
    weights, logs = [], []
    for model_class in (keras.Model, mtl.MultiTaskModel):
        model = build(model_class, rank=1)
        loss_of = loss if isinstance(loss, str) else loss()
        model.compile("adam", loss={"a": loss_of, "b": "mse"}, metrics={"a": ["mae"], "b": []})
        logs.append(model.fit(X, y, batch_size=6, epochs=3, shuffle=False, verbose=0).history)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    for name in ("loss", "a_loss", "a_mae"):
        assert logs[1][name] == pytest.approx(logs[0][name], rel=1e-5)


@pytest.mark.parametrize("shape", [(12,), (12, 1)])
def test_an_output_without_last_axis_with_weights(shape):
    model = build(rank=1)
    metrics = [
        "mae",
        keras.metrics.AUC(num_thresholds=2001, name="auc"),
        mtl.metrics.Pearson(),
        broadcasting,
    ]
    frame = mtl.metrics.FrameAccuracy(["a"])
    loss = {"a": keras.losses.BinaryCrossentropy(from_logits=True), "b": "mse"}
    model.compile("sgd", loss=loss, metrics={"a": metrics, "b": []}, joint_metrics=[frame])
    y, weight = (Y > 0.5).astype("float32"), np.arange(12) % 3
    p = model.predict(X, verbose=0)["a"]
    results = model.evaluate(
        X, {"a": y.reshape(shape), "b": Y}, sample_weight={"a": weight, "b": np.ones(12)}, verbose=0, return_dict=True
    )
    kept = weight > 0
    losses = np.log1p(np.exp(p)) - y * p
    assert p.shape == (12,)
    assert results["a_loss"] == pytest.approx((weight * losses).sum() / weight.sum(), rel=1e-5)
    for name in ("mae", "broadcasting"):
        assert results[f"a_{name}"] == pytest.approx(np.abs(p - y)[kept].mean(), rel=1e-5)
    assert results["a_pearson"] == pytest.approx(np.corrcoef(p[kept], y[kept])[0, 1], abs=1e-5)
    pairs = p[kept & (y == 1)][:, None] - p[kept & (y == 0)]
    assert results["a_auc"] == pytest.approx((pairs > 0).mean(), abs=0.02)
    assert results["frame_accuracy"] == pytest.approx(((p > 0) == y)[kept].mean())


def test_losses_over_the_last_axis_compare_labels_with_all_positions_as_in_keras():
    """A distribution over positions: labels [B, S] and outputs [B, S, 1]."""
    results = []
    for model_class in (keras.Model, mtl.MultiTaskModel):
        keras.utils.set_random_seed(0)
        x = keras.Input((5, 3))
        outputs = {name: keras.layers.Dense(1)(x) for name in ("a", "b")}
        model = model_class(x, outputs)
        pointing = keras.losses.CategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss={"a": pointing, "b": "cosine_similarity"})
        data = np.random.default_rng(1).normal(size=(4, 5, 3)), {"a": np.eye(5)[[0, 2, 4, 1]], "b": np.ones((4, 5))}
        results.append(model.evaluate(*data, verbose=0, return_dict=True))
    assert results[1] == pytest.approx(results[0], rel=1e-5)


@pytest.mark.parametrize("call", ["fit", "evaluate", "train_on_batch", "test_on_batch", "gradient_cosines"])
def test_label_weights_of_another_rank_in_a_later_call(call):
    x, y = np.ones((4, 2), "float32"), {"a": np.eye(4, 3, dtype="float32"), "b": np.ones((4, 1), "float32")}
    tasks = [mtl.tasks.MultiLabel("a", 3), mtl.tasks.Regression("b")]
    model = mtl.build_model(keras.Input((2,)), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([3])), tasks)
    model.compile(keras.optimizers.SGD(0.0))
    rows = np.array([1, 0, 1, 1], "float32")
    results = []
    for weight in (rows, np.repeat(rows[:, None], 3, 1), rows):  # of rows, of cells, of rows
        if call == "gradient_cosines":
            results.append(model.gradient_cosines((x, y, {"a": weight}))[0, 1])
        elif call in ("fit", "evaluate"):
            out = getattr(model, call)(x, y, sample_weight={"a": weight}, verbose=0)
            results.append(out.history["a_loss"][0] if call == "fit" else out[1])
        else:
            results.append(getattr(model, call)(x, y, {"a": weight}, return_dict=True)["a_loss"])
    assert results == pytest.approx([results[0]] * 3, rel=1e-6)
