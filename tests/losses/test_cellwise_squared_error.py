import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

import tf_mtl as mtl


def regression(units=3):
    keras.utils.set_random_seed(0)
    tasks = [mtl.tasks.Regression("r", units=units), mtl.tasks.Regression("s")]
    return mtl.build_model(keras.Input((6,), name="x"), mtl.trunks.HardSharing(keras.layers.Dense(4)), tasks)


def data(rows=20):
    x, _ = small_models.full_data(rows)
    return x, {"r": x[:, :3] * 2 + 1, "s": x[:, 0]}


def test_each_value_of_a_row_has_its_weight():
    """Loss and metrics are means over the values that are not missing, in any row."""
    x, y = data()
    missing = np.random.default_rng(0).random(y["r"].shape) < 0.4
    marked = {**y, "r": np.where(missing, np.nan, y["r"])}
    rows = mtl.data.mask_missing(tf.data.Dataset.from_tensor_slices((x, marked)), {"r": float("nan")})
    model = regression()
    model.compile("sgd")
    results = model.evaluate(rows.batch(8), verbose=0, return_dict=True)
    predicted, true = model.predict(x, verbose=0)["r"][~missing], y["r"][~missing]
    assert results["r_loss"] == pytest.approx(np.mean((predicted - true) ** 2), rel=1e-5)
    assert results["r_rmse"] == pytest.approx(np.mean((predicted - true) ** 2) ** 0.5, rel=1e-5)
    assert results["r_mae"] == pytest.approx(np.mean(np.abs(predicted - true)), rel=1e-5)
    assert results["r_pearson"] == pytest.approx(np.corrcoef(predicted, true)[0, 1], rel=1e-4)
    model.fit(rows.batch(8), verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.parametrize("weight", [None, np.arange(20) % 3 / 2])
def test_weights_of_rows_give_the_results_of_keras(weight):
    x, y = data()
    weights = None if weight is None else {"r": weight.astype("float32")}
    metrics = {"r": [keras.metrics.MeanAbsoluteError(name="mae")], "s": []}
    results = []
    for options in ({}, {"loss": "mse", "metrics": metrics}):
        model = regression()
        model.compile(keras.optimizers.SGD(0.1), **options)
        model.fit(x, y, sample_weight=weights, shuffle=False, verbose=0)
        logs = model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
        results.append([logs["r_loss"], logs["r_mae"], *(w.sum() for w in model.get_weights())])
    np.testing.assert_allclose(*results, rtol=1e-4)


def test_labels_of_another_shape_are_refused():
    x, y = data()
    model = regression()
    model.compile("sgd")
    with pytest.raises(ValueError, match=r"`y\['r'\]` has shape"):
        model.fit(x, {**y, "r": y["r"][:, :2]}, verbose=0)


def test_in_a_graph():
    x, y = data()
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    model = mtl.MultiTaskModel(inputs, {"r": keras.layers.Dense(3)(inputs), "s": keras.layers.Dense(1)(inputs)})
    model.compile("sgd", loss={"r": mtl.losses.CellwiseSquaredError(), "s": "mse"})
    weight = {"r": np.eye(3, dtype="float32")[np.arange(20) % 3]}
    loss = model.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)["r_loss"]
    error = (model.predict(x, verbose=0)["r"] - y["r"]) ** 2
    assert loss == pytest.approx((error * weight["r"]).sum() / weight["r"].sum(), rel=1e-5)
