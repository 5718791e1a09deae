"""What `compile(non_finite=...)` makes of steps with NaN or infinity."""

import warnings

import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

import tf_mtl as mtl

BAD_ROW = 19  # in the third batch of 8


def data(bad=True, rows=40):
    x, y = small_models.full_data(rows)
    if bad:
        y["price"][BAD_ROW] = 1e30
    return x, y


def fitted(non_finite, bad=True, epochs=1, strategy=None, rows=None, optimizer=None, shape=None, **options):
    """A model after an epoch of 5 batches, the third of which has an infinite loss, and its history."""
    strategy = strategy or mtl.distribute.strategy("one_device")
    with strategy.scope():
        model = small_models.model()
        optimizer = optimizer() if optimizer else keras.optimizers.Adam(0.01)
        model.compile(optimizer, loss=small_models.LOSS, non_finite=non_finite, **{"jit_compile": False, **options})
    x, y = data(bad) if rows is None else rows
    history = model.fit(x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)
    return model, history.history


def state(model):
    owners = (model, model.optimizer, model.balancing)
    return [v.numpy() for owner in owners for v in owner.variables]


def without_the_batch():
    x, y = data(bad=False)
    keep = np.r_[0:16, 24:40]
    return x[keep], {task: labels[keep] for task, labels in y.items()}


METHODS = [
    ("equal", {}),
    ("famo", {}),
    ("gradnorm", {}),
    ("dwa", {}),
    ("mgda", {"gradients": "features"}),
    (lambda: mtl.balancing.EMA(mtl.balancing.UPGrad()), {}),
    (lambda: mtl.balancing.NashMTL(), {}),
    ("equal", {"accumulate": 2}),
    ("equal", {"steps_per_execution": 2}),
    ("equal", {"jit_compile": True}),
    ("equal", {"run_eagerly": True}),
]


@pytest.mark.parametrize("index", range(len(METHODS)))
def test_skipped_steps_leave_no_trace(index):
    method, options = METHODS[index]
    made = method if isinstance(method, str) else method()
    again = method if isinstance(method, str) else method()
    with pytest.warns(
        UserWarning, match="The loss is NaN or infinite in the step after 2 updates: that of 'price' at row 3 of the"
    ):
        model, history = fitted("skip", balancing=made, **options)
    expected, expected_history = fitted("keep", rows=without_the_batch(), balancing=again, **options)
    for one, other in zip(state(model), state(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)
    assert history.pop("skipped_steps") == [1.0]
    for name, values in expected_history.items():
        np.testing.assert_allclose(history[name], values, rtol=2e-5, atol=1e-6, err_msg=name)


def test_two_replicas_equal_one():
    with pytest.warns(UserWarning, match="'price' at row 3 of the batch"):
        one, history = fitted("skip", balancing=mtl.balancing.EMA(mtl.balancing.UPGrad()))
    with pytest.warns(UserWarning, match="'price' at row 3 of the batch"):
        two, history_of_two = fitted(
            "skip", strategy=mtl.distribute.strategy("mirrored"), balancing=mtl.balancing.EMA(mtl.balancing.UPGrad())
        )
    assert small_models.largest_difference(one.get_weights(), two.get_weights()) < 1e-5
    assert history_of_two["skipped_steps"] == history["skipped_steps"] == [1.0]


@pytest.mark.parametrize("name", ["one_device", "mirrored"])
@pytest.mark.parametrize("steps_per_execution", [1, 5])
def test_raise_undoes_the_step_and_names_task_and_row(name, steps_per_execution):
    with mtl.distribute.strategy(name).scope():
        model = small_models.model()
        model.compile(
            keras.optimizers.Adam(0.01),
            loss=small_models.LOSS,
            non_finite="raise",
            steps_per_execution=steps_per_execution,
            jit_compile=False,
        )
    x, y = data()
    with pytest.raises(ValueError, match=r"'price' at row 3 of the batch\. The step was undone\. .*non_finite='skip'"):
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    expected, _ = fitted("keep", rows=(x[:16], {task: labels[:16] for task, labels in y.items()}))
    for one, other in zip(state(model), state(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    x, y = data(bad=False)
    assert "skipped_steps" not in model.fit(x, y, batch_size=8, verbose=0).history


def test_the_first_of_several_steps_is_named():
    x, y = data()
    y["price"][33] = 1e30
    for choice, expectation in (
        ("raise", pytest.raises(ValueError, match="row 3 ")),
        ("skip", pytest.warns(match="row 3 ")),
    ):
        with expectation:
            fitted(choice, rows=(x, y), steps_per_execution=5)


def test_train_on_batch_raises():
    model = small_models.model()
    model.compile("adam", loss=small_models.LOSS, non_finite="raise", jit_compile=False)
    x, y = data()
    with pytest.raises(ValueError, match="'price' at row 19 of the batch"):
        model.train_on_batch(x, y)
    assert model.optimizer.iterations == 0


@keras.saving.register_keras_serializable("tests")
class RootOfZero(keras.layers.Layer):
    """A layer whose gradient is infinite at the inputs' zero, where its output is finite."""

    def build(self, input_shape):
        self.factor = self.add_weight(shape=(), initializer="zeros", name="factor")

    def call(self, x):
        return x + tf.sqrt(tf.abs(self.factor))


@pytest.mark.parametrize(("place", "owner"), [("head", "'price' alone"), ("trunk", "several tasks")])
def test_gradients_alone(place, owner):
    x = keras.Input((6,), name="x")
    h = keras.layers.Dense(4)(x)
    h = RootOfZero()(h) if place == "trunk" else h
    price = keras.layers.Dense(1)(h)
    model = mtl.MultiTaskModel(
        x, {"topic": keras.layers.Dense(3)(h), "price": RootOfZero()(price) if place == "head" else price}
    )
    model.compile("sgd", loss=small_models.LOSS, non_finite="raise", jit_compile=False)
    with pytest.raises(ValueError, match=f"gradients of variables of {owner} hold NaN or infinity .*no loss does"):
        model.fit(*data(bad=False), verbose=0)


def test_rows_without_a_label_do_not_count():
    x, y = data()
    weight = {"price": np.ones(40, "float32")}
    weight["price"][BAD_ROW] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, history = fitted("skip", rows=(tf.data.Dataset.from_tensor_slices((x, y, weight)).batch(8), None))
    assert history["skipped_steps"] == [0.0]


def test_float16_shrinks_its_scale_and_counts_what_it_skips():
    def scaled():
        return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01), initial_scale=3e38)

    with warnings.catch_warnings():  # an overflow is no surprise
        warnings.simplefilter("error")
        model, history = fitted("skip", bad=False, optimizer=scaled)
    assert history["skipped_steps"][0] >= 1
    assert float(model.optimizer.dynamic_scale) < 3e38
    model, _ = fitted("raise", bad=False, optimizer=scaled)  # an overflow is no error
    assert float(model.optimizer.dynamic_scale) < 3e38
    with pytest.raises(ValueError, match="'price' at row 3"):
        fitted("raise", optimizer=scaled)


def test_float16_with_gradients_that_are_never_finite():
    x = keras.Input((6,), name="x")
    h = RootOfZero()(keras.layers.Dense(4)(x))
    model = mtl.MultiTaskModel(x, {"topic": keras.layers.Dense(3)(h), "price": keras.layers.Dense(1)(h)})
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01), initial_scale=4.0)
    model.compile(optimizer, loss=small_models.LOSS, non_finite="raise", jit_compile=False)
    with pytest.raises(ValueError, match="gradients of variables of several tasks hold NaN or infinity"):
        model.fit(*data(bad=False), batch_size=8, verbose=0)


def test_the_choice_is_saved_with_the_model(tmp_path):
    model, _ = fitted("raise", bad=False)
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="'price' at row"):
        keras.saving.load_model(tmp_path / "model.keras").fit(*data(), verbose=0)


def test_unknown_choice():
    with pytest.raises(ValueError, match="`non_finite` must be one of .*received 'drop'"):
        small_models.model().compile("adam", loss=small_models.LOSS, non_finite="drop")


def test_an_epoch_of_skipped_steps_alone_has_no_losses():
    x, y = small_models.full_data(40)
    y["price"][:] = 1e30
    with pytest.warns(UserWarning, match="'price' at rows 0, 1, 2"):
        _, history = fitted("skip", rows=(x, y))
    assert history.pop("skipped_steps") == [5.0]
    assert np.isnan([values for values in history.values()]).all()
