import keras
import numpy as np
import pytest
import small_models

import tf_mtl as mtl


def built():
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
@pytest.mark.parametrize("make", [built, small_models.model])
def test_a_saved_model_goes_on_as_if_it_had_not_been_saved(tmp_path, method, make):
    x, y, weight = small_models.ragged_data()
    model = make()
    loss = None if make is built else small_models.LOSS
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
    again = keras.models.load_model(tmp_path / "model.keras")

    assert type(again) is mtl.MultiTaskModel
    assert [task.get_config() for task in again.tasks] == [task.get_config() for task in model.tasks]
    for task, prediction in model.predict(x, verbose=0).items():
        np.testing.assert_array_equal(again.predict(x, verbose=0)[task], prediction)
    evaluate = {"sample_weight": weight, "verbose": 0, "return_dict": True}
    assert again.evaluate(x, y, **evaluate) == model.evaluate(x, y, **evaluate)
    for kept in (lambda m: m.optimizer.variables, lambda m: m.balancing.variables):
        assert len(kept(again)) == len(kept(model))
        for a, b in zip(kept(again), kept(model), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=b.path)
    for m in (model, again):
        m.fit(x, y, sample_weight=weight, verbose=0, shuffle=False)
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(again.balancing.variables, model.balancing.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_an_uncompiled_model_is_saved_too(tmp_path):
    model = built()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.balancing is None
    x = np.ones((2, 6), "float32")
    np.testing.assert_array_equal(again(x)["price"], model(x)["price"])
    assert list(again.losses_by_task) == ["topic", "price"]


def test_a_trunk_with_a_function_is_not_saved_but_the_model_is(tmp_path):
    dense, tasks = keras.layers.Dense(4), [mtl.tasks.Regression("a"), mtl.tasks.Regression("b")]
    model = mtl.build_model(
        keras.Input((5,)), mtl.trunks.HardSharing([keras.layers.Dense(3), lambda x: dense(x)]), tasks
    )
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.trunk is None
    np.testing.assert_array_equal(*(m.predict(np.ones((2, 5)), verbose=0)["a"] for m in (model, again)))
    assert again.describe_sharing(print_fn=None) == model.describe_sharing(print_fn=None)
