import keras
import numpy as np
import pytest
import small_models

import tf_mtl as mtl


def task_model():
    return mtl.build_model(
        keras.Input((6,), name="x"),
        mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8, 8])),
        [
            mtl.tasks.Classification("topic", labels=["a", "b", "c"], hidden_units=4),
            mtl.tasks.Regression("price", scale=2.0, offset=1.0, low=0.0),
        ],
    )


@pytest.mark.parametrize(
    "method",
    [
        "equal",
        mtl.balancing.Fixed({"topic": 1.0, "price": 0.5}),
        small_models.LearnedWeights,
        small_models.InverseNorm,
        small_models.Normalised,
    ],
)
@pytest.mark.parametrize("make", [task_model, small_models.model])
def test_a_loaded_model_continues_as_the_saved_one(tmp_path, method, make):
    x, y, weight = small_models.ragged_data()
    model = make()
    loss = None if make is task_model else small_models.LOSS
    model.compile(
        keras.optimizers.AdamW(0.01),
        loss=loss,
        loss_weights={"topic": 1.0, "price": 0.5},
        metrics={"topic": ["accuracy"], "price": ["mae", mtl.metrics.Pearson()]},
        balancing=method() if isinstance(method, type) else method,
        gradients="features",
    )
    model.fit(x, y, sample_weight=weight, epochs=2, verbose=0, shuffle=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")

    assert type(loaded) is mtl.MultiTaskModel
    assert [task.get_config() for task in loaded.tasks] == [task.get_config() for task in model.tasks]
    for task, prediction in model.predict(x, verbose=0).items():
        np.testing.assert_array_equal(loaded.predict(x, verbose=0)[task], prediction)
    evaluate = {"sample_weight": weight, "verbose": 0, "return_dict": True}
    assert loaded.evaluate(x, y, **evaluate) == model.evaluate(x, y, **evaluate)
    for state_of in (lambda m: m.optimizer.variables, lambda m: m.balancing.variables):
        assert len(state_of(loaded)) == len(state_of(model))
        for a, b in zip(state_of(loaded), state_of(model), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=b.path)
    for m in (model, loaded):
        m.fit(x, y, sample_weight=weight, verbose=0, shuffle=False)
    for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(loaded.balancing.variables, model.balancing.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_an_uncompiled_model_can_be_saved(tmp_path):
    model = task_model()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.balancing is None
    x = np.ones((2, 6), "float32")
    np.testing.assert_array_equal(loaded(x)["price"], model(x)["price"])
    assert list(loaded.losses_by_task) == ["topic", "price"]


def test_a_trunk_with_a_function_is_not_saved_but_the_model_is(tmp_path):
    dense, tasks = keras.layers.Dense(4), [mtl.tasks.Regression("a"), mtl.tasks.Regression("b")]
    model = mtl.build_model(
        keras.Input((5,)), mtl.trunks.HardSharing([keras.layers.Dense(3), lambda x: dense(x)]), tasks
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.trunk is None
    np.testing.assert_array_equal(*(m.predict(np.ones((2, 5)), verbose=0)["a"] for m in (model, loaded)))
    assert loaded.describe_sharing(print_fn=None) == model.describe_sharing(print_fn=None)


@pytest.mark.parametrize("form", ["dict", "list", "one output"])
def test_the_arguments_of_losses_are_kept(form, tmp_path):
    huber, topic = keras.losses.Huber(10.0), small_models.LOSS["topic"]
    loss = {"dict": {"topic": topic, "price": huber}, "list": [huber, topic], "one output": {"price": huber}}[form]
    x, y = small_models.full_data()
    y["price"] *= 100
    model = small_models.model()
    model.compile("sgd", loss=loss)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    results = [each.evaluate(x, y, verbose=0, return_dict=True) for each in (model, loaded)]
    assert results[0] == results[1]
