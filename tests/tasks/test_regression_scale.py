import keras
import numpy as np
import pytest

import tf_mtl as mtl

X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
SALARY = (60_000 + 20_000 * X[:, 0]).astype("float32")


def regression(**options):
    keras.utils.set_random_seed(0)
    trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    model = mtl.build_model(keras.Input((4,)), trunk, [mtl.tasks.Regression("salary", **options)])
    model.compile("sgd")
    return model


def test_the_loss_of_a_regression_is_in_units_of_its_scale():
    """Training with scale and offset equals training on standardised labels."""
    model, standardised = regression(scale=20_000, offset=60_000), regression()
    for step in range(3):
        rows = slice(16 * step, 16 * step + 16)
        logs = model.train_on_batch(X[rows], {"salary": SALARY[rows]}, return_dict=True)
        labels = (SALARY[rows] - 60_000) / 20_000
        expected = standardised.train_on_batch(X[rows], {"salary": labels}, return_dict=True)
        assert logs["salary_loss"] == pytest.approx(expected["salary_loss"], rel=1e-4)
        assert logs["salary_mae"] == pytest.approx(20_000 * expected["salary_mae"], rel=1e-4)
    for one, other in zip(model.get_weights(), standardised.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_loss_given_to_compile_is_in_the_labels_units():
    model = regression(scale=20_000, offset=60_000)
    model.compile("sgd", loss={"salary": "mse"})
    outputs = model.predict(X, verbose=0)["salary"][:, 0]
    expected = np.mean((outputs.astype("float64") - SALARY) ** 2)
    assert model.evaluate(X, {"salary": SALARY}, verbose=0)[0] == pytest.approx(expected, rel=1e-4)


def test_is_saved_with_its_scale(tmp_path):
    model = regression()
    model.compile("sgd", loss={"salary": mtl.losses.CellwiseSquaredError(7.0)})
    model.save(tmp_path / "model.keras")
    loss = keras.models.load_model(tmp_path / "model.keras").losses_by_task["salary"]
    assert loss.scale == 7.0
    np.testing.assert_allclose(loss.call([[14.0, 7.0]], [[0.0, 0.0]]), [[4.0, 1.0]])


def test_bad_scale():
    with pytest.raises(ValueError, match=r"`scale` must be a number in \(0, inf\), received 0"):
        mtl.losses.CellwiseSquaredError(0)
