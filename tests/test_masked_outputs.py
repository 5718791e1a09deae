"""Label weights and Keras masks of outputs per token or cell: losses and metrics compared with NumPy and Keras."""

import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

import tf_mtl as mtl

STEPS = ROWS = 8  # equal, so that weights [B] that broadcast along the wrong axis go unnoticed
RNG = np.random.default_rng(0)
IDS = np.where(np.arange(STEPS) < RNG.integers(2, STEPS + 1, ROWS)[:, None], RNG.integers(1, 5, (ROWS, STEPS)), 0)
CLASSES = RNG.integers(0, 3, (ROWS, STEPS))
VALUES = RNG.normal(size=(ROWS, STEPS)).astype("float32")
ROW_WEIGHTS = np.array([0, 1, 2, 0.5, 0, 3, 1, 1], "float32")
WEIGHTS = {
    "none": None,
    "other task": None,
    "rows": ROW_WEIGHTS,
    "column": ROW_WEIGHTS[:, None],
    "tokens": (RNG.integers(0, 3, (ROWS, STEPS))).astype("float32"),
    "tokens and axis": (RNG.integers(0, 3, (ROWS, STEPS, 1))).astype("float32"),
}
CASES = [*((name, True) for name in WEIGHTS), ("rows", False), ("column", False)]


def build(mask, units, model_class=mtl.MultiTaskModel, activation=None, steps=STEPS):
    keras.utils.set_random_seed(1)
    ids = keras.Input((steps,), dtype="int32")
    h = keras.layers.Embedding(5, 6, mask_zero=mask, embeddings_initializer="normal", name="words")(ids)
    h = keras.layers.LSTM(4, return_sequences=True, name="encoder")(h)
    per_row = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling1D()(h))
    return model_class(ids, {"t": keras.layers.Dense(units, activation=activation, name="t")(h), "s": per_row})


def weights_of(name):
    """The weights to pass to the model, and those of each token."""
    weight = WEIGHTS[name]
    if weight is None:
        return {"s": np.ones(ROWS)} if name == "other task" else None, np.ones((ROWS, STEPS))
    given = {"t": weight, "s": np.ones(ROWS)}
    return given, np.broadcast_to(weight.reshape(ROWS, -1), (ROWS, STEPS)).astype("float64")


def evaluate(model, labels, weights):
    y = {"t": labels, "s": np.zeros(ROWS)}
    return model.evaluate(IDS, y, sample_weight=weights, verbose=0, return_dict=True, batch_size=ROWS)


def macro_f1(weight, labels, predicted):
    f1 = []
    for c in range(3):
        true_positives = (weight * (predicted == c) * (labels == c)).sum()
        f1.append(2 * true_positives / ((weight * (predicted == c)).sum() + (weight * (labels == c)).sum()))
    return np.mean(f1)


def sentence_accuracy(y_true, y_pred):
    """A metric with one value per row."""
    right = keras.ops.equal(keras.ops.cast(y_true, "int64"), keras.ops.argmax(y_pred, -1))
    return keras.ops.mean(keras.ops.cast(right, "float32"), 1)


@pytest.mark.parametrize(("weights", "mask"), CASES)
def test_classes_of_tokens(weights, mask):
    model = build(mask, 3, activation="softmax")
    metrics = [
        "accuracy",
        mtl.metrics.MacroF1(3),
        mtl.metrics.SpanF1(["O", "B-a", "I-a"]),
        keras.metrics.MeanIoU(3, sparse_y_pred=False, name="iou"),
        sentence_accuracy,
    ]
    model.compile(
        "sgd",
        loss={"t": "sparse_categorical_crossentropy", "s": "mse"},
        metrics={"t": metrics, "s": []},
        weighted_metrics={"t": ["accuracy", mtl.metrics.MacroF1(3)]},
        joint_metrics=[mtl.metrics.FrameAccuracy(["t"])],
    )
    given, weight = weights_of(weights)
    weight = weight * ((IDS > 0) if mask else 1.0)
    labelled = (weight > 0).astype("float64")
    probability = model.predict(IDS, verbose=0)["t"].astype("float64")
    predicted = probability.argmax(-1)
    right = predicted == CLASSES
    losses = -np.log(np.take_along_axis(probability, CLASSES[..., None], -1)[..., 0])
    results = evaluate(model, CLASSES, given)
    assert results["t_loss"] == pytest.approx((weight * losses).sum() / weight.sum(), rel=1e-5)
    assert results["t_accuracy"] == pytest.approx((labelled * right).sum() / labelled.sum(), rel=1e-5)
    assert results["t_weighted_accuracy"] == pytest.approx((weight * right).sum() / weight.sum(), rel=1e-5)
    assert results["t_macro_f1"] == pytest.approx(macro_f1(labelled, CLASSES, predicted), rel=1e-5)
    assert results["t_weighted_macro_f1"] == pytest.approx(macro_f1(weight, CLASSES, predicted), rel=1e-5)
    rows = labelled.max(1)
    if "tokens" not in weights:  # where weight 0 has replaced labels
        assert results["t_sentence_accuracy"] == pytest.approx((rows * right.mean(1)).sum() / rows.sum(), rel=1e-5)
    all_right = (right | (labelled == 0)).all(1)
    assert results["frame_accuracy"] == pytest.approx((rows * all_right).sum() / rows.sum(), rel=1e-5)
    matrix = np.array([[(labelled * (i == CLASSES) * (j == predicted)).sum() for j in range(3)] for i in range(3)])
    union = matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
    assert results["t_iou"] == pytest.approx(np.mean(np.diag(matrix)[union > 0] / union[union > 0]), rel=1e-5)
    alone = mtl.metrics.SpanF1(["O", "B-a", "I-a"])
    alone.update_state(CLASSES, probability, labelled)
    assert results["t_span_f1"] == pytest.approx(float(alone.result()), rel=1e-5)


@pytest.mark.parametrize(
    ("weights", "mask", "axis"),
    [*((*case, False) for case in CASES), ("rows", True, True), ("tokens and axis", True, True)],
)
def test_values_of_tokens(weights, mask, axis):
    model = build(mask, 1, activation="sigmoid")
    metrics = [
        "mae",
        keras.metrics.RootMeanSquaredError(name="rmse"),
        mtl.metrics.Pearson(),
        keras.metrics.AUC(name="auc", num_thresholds=2001),
        keras.metrics.Precision(name="precision"),
        keras.metrics.BinaryAccuracy(name="right"),
    ]
    model.compile("sgd", loss="mse", metrics={"t": metrics, "s": []}, weighted_metrics={"t": ["mae"]})
    given, weight = weights_of(weights)
    weight = weight * ((IDS > 0) if mask else 1.0)
    labelled = weight > 0
    y = (VALUES > 0).astype("float32")
    p = model.predict(IDS, verbose=0)["t"][..., 0].astype("float64")
    results = evaluate(model, y[..., None] if axis else y, given)
    error = np.abs(p - y)
    assert results["t_loss"] == pytest.approx((weight * error**2).sum() / weight.sum(), rel=1e-5)
    assert results["t_mae"] == pytest.approx(error[labelled].mean(), rel=1e-5)
    assert results["t_weighted_mae"] == pytest.approx((weight * error).sum() / weight.sum(), rel=1e-5)
    assert results["t_rmse"] == pytest.approx(np.sqrt((error[labelled] ** 2).mean()), rel=1e-5)
    assert results["t_pearson"] == pytest.approx(np.corrcoef(y[labelled], p[labelled])[0, 1], abs=1e-5)
    assert results["t_right"] == pytest.approx(((p > 0.5) == y)[labelled].mean(), rel=1e-5)
    positive = labelled & (p > 0.5)
    assert results["t_precision"] == pytest.approx(y[positive].mean() if positive.any() else 0, rel=1e-5)
    pairs = p[labelled & (y == 1)][:, None] - p[labelled & (y == 0)]
    assert results["t_auc"] == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean(), abs=0.02)


def test_batches_of_unknown_length():
    model = build(True, 3, activation="softmax", steps=None)
    loss = {"t": "sparse_categorical_crossentropy", "s": "mse"}
    model.compile("sgd", loss=loss, metrics={"t": ["accuracy", mtl.metrics.MacroF1(3)], "s": []})
    weights = {"t": ROW_WEIGHTS, "s": np.ones(ROWS, "float32")}
    batch = IDS.astype("int32"), {"t": CLASSES.astype("int32"), "s": np.zeros(ROWS, "float32")}, weights
    unknown = tf.nest.map_structure(lambda array: tf.TensorSpec([None] * array.ndim, array.dtype), batch)
    data = tf.data.Dataset.from_generator(lambda: iter([batch]), output_signature=unknown)
    expected = evaluate(model, CLASSES, weights)
    assert model.evaluate(data, verbose=0, return_dict=True) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weights", ["none", "rows", "tokens", "cells"])
def test_several_labels_per_token(weights):
    trunk = mtl.trunks.HardSharing([keras.layers.Embedding(5, 6, mask_zero=True), keras.layers.Dense(4)])
    task = mtl.tasks.MultiLabel("t", 3, features="sequence")
    model = mtl.build_model(keras.Input((STEPS,), dtype="int32"), trunk, [task])
    model.compile("sgd")
    y = RNG.integers(0, 2, (ROWS, STEPS, 3))
    cells = RNG.integers(0, 2, (ROWS, STEPS, 3)).astype("float32")
    weight = {**WEIGHTS, "cells": cells}[weights]
    labelled = np.repeat((IDS > 0)[..., None], 3, -1)
    if weight is not None:
        labelled &= weight.reshape(*weight.shape, *[1] * (3 - weight.ndim)) > 0
    given = None if weight is None else {"t": weight}
    results = model.evaluate(IDS, {"t": y}, sample_weight=given, verbose=0, return_dict=True)
    predicted = model.predict(IDS, verbose=0)["t"] >= 0
    both, either = (labelled * predicted * y).sum((0, 1)), (labelled * (predicted + (y == 1).astype(int))).sum((0, 1))
    assert results["t_micro_f1"] == pytest.approx(2 * both.sum() / either.sum(), rel=1e-5)
    assert results["t_macro_f1"] == pytest.approx((2 * both / either).mean(), rel=1e-5)


@pytest.mark.parametrize(
    "task",
    [mtl.tasks.Classification("t", 2, features="map"), mtl.tasks.BinaryClassification("t", features="map")],
    ids=["classes", "binary"],
)
def test_row_weights_of_pixels(task):
    x = RNG.normal(size=(4, 4, 4, 2)).astype("float32")  # as many rows as pixels in a row
    y = RNG.integers(0, 2, (4, 4, 4))
    rows = np.array([0, 1, 0, 1], "float32")
    model = mtl.build_model(keras.Input((4, 4, 2)), mtl.trunks.HardSharing(keras.layers.Conv2D(3, 1)), [task])
    model.compile("sgd")
    weighted = model.evaluate(x, {"t": y}, sample_weight={"t": rows}, verbose=0, return_dict=True)
    kept = rows > 0
    expected = model.evaluate(x[kept], {"t": y[kept]}, verbose=0, return_dict=True)
    assert weighted == pytest.approx(expected, rel=1e-5)


def test_masks_count_in_metrics_as_in_keras():
    results = []
    for model_class in (keras.Model, mtl.MultiTaskModel):
        model = build(True, 3, model_class, "softmax")
        loss = {"t": "sparse_categorical_crossentropy", "s": "mse"}
        model.compile("sgd", loss=loss, metrics={"t": ["accuracy"], "s": []})
        results.append(evaluate(model, CLASSES, None))
    assert results[1] == pytest.approx(results[0], rel=1e-5)


def test_values_that_a_loss_masks_do_not_count_as_in_keras():
    """Circle's loss of rows without a violation is 0; Keras leaves them out of the mean."""
    x, y = RNG.normal(size=(ROWS, 3)).astype("float32"), np.array([0, 0, 0, 1, 1, 2, 3, 3])
    results = []
    for model_class in (keras.Model, mtl.MultiTaskModel):
        keras.utils.set_random_seed(1)
        inputs = keras.Input((3,))
        outputs = {name: keras.layers.UnitNormalization()(keras.layers.Dense(4)(inputs)) for name in ("t", "s")}
        model = model_class(inputs, outputs)
        model.compile("sgd", loss={"t": keras.losses.Circle(), "s": "mse"})
        results.append(model.evaluate(x, {"t": y, "s": np.zeros((ROWS, 4))}, verbose=0, return_dict=True))
    assert results[1] == pytest.approx(results[0], rel=1e-5)


@pytest.mark.parametrize("gradients", ["parameters", "features"])
def test_masked_tokens_do_not_train(gradients):
    """Gradient methods train to the same weights whatever the labels of masked tokens are."""
    final = []
    for noise in (0, 1):
        model = build(True, 3, activation="softmax")
        model.compile(
            "sgd",
            loss={"t": "sparse_categorical_crossentropy", "s": "mse"},
            metrics={"t": ["accuracy"], "s": []},
            balancing=small_models.SumOfGradients(),
            gradients=gradients,
        )
        y = np.where(IDS > 0, CLASSES, (CLASSES + noise) % 3)
        data = IDS, {"t": y, "s": np.zeros(ROWS)}, {"t": ROW_WEIGHTS, "s": np.ones(ROWS)}
        logs = model.fit(tf.data.Dataset.from_tensor_slices(data).batch(4), epochs=1, verbose=0).history
        final.append([*model.get_weights(), *(np.array(values) for values in logs.values())])
    for one, other in zip(*final, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("head", [{}, {"hidden_units": 3, "dropout": 0.1}])
@pytest.mark.parametrize("features", ["sequence", "decoder"])
def test_dense_tasks_on_a_sequence_leave_out_masked_tokens(features, head, tmp_path):
    inputs = keras.Input((None,), dtype="int32")
    encoded = mtl.encoders.RecurrentEncoder(9, dim=4, units=3)(inputs)
    mask = {"mask": encoded["mask"], "decoder_mask": encoded["mask"]}
    encoder = keras.Model(inputs, {"sequence": encoded["sequence"], "decoder": encoded["sequence"], **mask})
    model = mtl.build_model(
        keras.Input((None,), dtype="int32"),
        mtl.trunks.HardSharing(encoder),
        [mtl.tasks.Regression("t", features=features, **head), mtl.tasks.Regression("s", features=features)],
    )
    model.compile("sgd", metrics={"t": ["mae"], "s": []})
    outputs = model.predict(IDS, verbose=0)["t"]
    y = {"t": np.random.default_rng(0).normal(size=outputs.shape), "s": np.zeros(outputs.shape)}
    logs = model.evaluate(IDS, y, verbose=0, return_dict=True)
    error = (outputs - y["t"])[IDS > 0]
    assert logs["t_loss"] == pytest.approx(np.mean(error**2), rel=1e-5)
    assert logs["t_mae"] == pytest.approx(np.mean(np.abs(error)), rel=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(IDS, y, verbose=0, return_dict=True) == pytest.approx(logs, rel=1e-6)
