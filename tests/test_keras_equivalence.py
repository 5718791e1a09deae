"""A Keras model whose class is changed to `MultiTaskModel` trains as before."""

import keras
import numpy as np
import pytest
import small_models

import tf_mtl as mtl

COMPILE_OPTIONS = {
    "loss": small_models.LOSS,
    "loss_weights": {"topic": 1.0, "price": 0.3},
    "metrics": {"topic": ["accuracy"], "price": ["mae"]},
}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop"])
def test_equal_balancing_trains_to_the_same_weights_step_by_step(optimizer):
    x, y = small_models.full_data()
    plain, ours = small_models.model(keras.Model), small_models.model()
    plain.compile(optimizer, **COMPILE_OPTIONS)
    ours.compile(optimizer, balancing="equal", **COMPILE_OPTIONS)
    for step in range(5):
        rows = slice(8 * step, 8 * step + 8)
        batch = x[rows], {task: labels[rows] for task, labels in y.items()}
        expected = plain.train_on_batch(*batch, return_dict=True)
        logs = ours.train_on_batch(*batch, return_dict=True)
        assert small_models.largest_difference(plain.get_weights(), ours.get_weights()) < 1e-6
        assert logs == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gradients", ["parameters", "features"])
@pytest.mark.parametrize("method", [small_models.SumOfGradients, small_models.SumOfRows])
def test_the_sum_of_task_gradients_is_the_gradient_of_the_sum(method, gradients):
    """Every kind of gradients gives the weights of plain Keras, also with regularizers and activity losses."""

    def build(model_class):
        keras.utils.set_random_seed(3)
        x = keras.Input((6,))
        h = keras.layers.Dense(8, activation="tanh", kernel_regularizer="l2", activity_regularizer="l2")(x)
        h = keras.layers.Dense(8, activation="tanh")(h)
        topic = keras.layers.Dense(3, kernel_regularizer="l1", activity_regularizer="l2")(h)
        return model_class(x, {"topic": topic, "price": keras.layers.Dense(1, activity_regularizer="l2")(h)})

    data = small_models.batches(small_models.full_data())
    plain, ours = build(keras.Model), build(mtl.MultiTaskModel)
    plain.compile("adam", **COMPILE_OPTIONS)
    ours.compile("adam", balancing=method(), gradients=gradients, **COMPILE_OPTIONS)
    expected = plain.fit(data, epochs=3, verbose=0).history
    logs = ours.fit(data, epochs=3, verbose=0).history
    assert small_models.largest_difference(plain.get_weights(), ours.get_weights()) < 1e-5
    assert logs["loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_keras_usage_works_as_before():
    x, y = small_models.full_data()
    model = small_models.model()
    model.compile("adam", loss=small_models.LOSS)
    history = model.fit(x, y, 8, 2, 0, validation_split=0.25)  # batch size, epochs and verbosity by position
    assert set(history.history) == {f"{v}{k}" for v in ("", "val_") for k in ("loss", "topic_loss", "price_loss")}
    assert model.get_layer("topic").units == 3
    sub_model = keras.Model(model.input, model.get_layer("encoder").output)
    assert sub_model.predict(x, verbose=0).shape == (40, 8)
    assert len(model.trainable_variables) == 6
    assert np.isfinite(model.test_on_batch(x, y)[0])
    assert model.evaluate(x, y, 8, 0, np.ones(40)) == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-5)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone(x)["price"], model(x)["price"])


def test_outputs_are_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small_models.model()
    finally:
        keras.config.set_dtype_policy("float32")
    x, y = small_models.full_data()
    model.compile("adam", loss=small_models.LOSS, balancing=small_models.InverseNorm(), gradients="features")
    logs = model.fit(x, y, verbose=0).history
    assert {str(o.dtype) for o in model.output.values()} == {"float32"}
    assert model.predict(x, verbose=0)["topic"].dtype == np.float32
    assert model.balancing.compute_dtype == "float32"
    assert np.isfinite(logs["loss"]).all()


@pytest.mark.parametrize("gradients", ["parameters", "features"])
@pytest.mark.parametrize("method", ["equal", small_models.SumOfGradients, small_models.SumOfRows])
def test_loss_scaling_does_not_change_the_update(method, gradients):
    """Training with and without a scale gives the same weights, for every kind of gradients."""
    final_weights = []
    for wrap in (lambda optimizer: optimizer, keras.optimizers.LossScaleOptimizer):
        model = small_models.model()
        balancing = method if isinstance(method, str) else method()
        model.compile(wrap(keras.optimizers.SGD(0.1)), loss=small_models.LOSS, balancing=balancing, gradients=gradients)
        model.fit(small_models.batches(small_models.full_data()), verbose=0)
        final_weights.append(model.get_weights())
    assert small_models.largest_difference(*final_weights) < 1e-5


def test_float16_on_one_device():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = small_models.model()
    finally:
        keras.config.set_dtype_policy("float32")
    with pytest.raises(ValueError, match="InverseNorm.*keeps state.*float16.*mixed_bfloat16"):
        model.compile("adam", loss=small_models.LOSS, balancing=small_models.InverseNorm())
    model.compile("adam", loss=small_models.LOSS, balancing=small_models.SumOfGradients())
    logs = model.fit(small_models.batches(small_models.full_data()), epochs=5, verbose=0).history
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert logs["loss"][-1] < logs["loss"][0]
