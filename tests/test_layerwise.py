"""Learning rates of layers, compared with NumPy and with separate optimizers; layers with factor 0."""

import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl._optimizers.internals import with_slots
from tf_mtl._optimizers.layerwise import Layerwise, layerwise, layerwise_decay

FACTORS = {"encoder": 0.1, "price": 5.0, "topic": 1.0}


def trained_with_missing_labels(optimizer_of, epochs=2, **options):
    """A model trained with the optimizer that `optimizer_of(model)` returns."""
    model = small_models.model()
    with model.distribute_strategy.scope():
        model.compile(optimizer_of(model), loss=small_models.LOSS, jit_compile=False, **options)
    x, y, weight = small_models.ragged_data(rows=24)
    model.fit(x, y, 8, epochs=epochs, shuffle=False, sample_weight=weight, verbose=0)
    return model


def trained_with_all_labels(optimizer_of, epochs=2, **options):
    model = small_models.model()
    with model.distribute_strategy.scope():
        model.compile(optimizer_of(model), loss=small_models.LOSS, jit_compile=False, **options)
    x, y = small_models.full_data(rows=24)
    model.fit(x, y, 8, epochs=epochs, shuffle=False, verbose=0)
    return model


def trained_with_separate_optimizers(optimizer_of, epochs=2):
    """A model trained with one optimizer per layer, each with its own learning rate, and losses in plain TensorFlow."""
    model = small_models.model()
    x, y = small_models.full_data(rows=24)
    optimizers = {name: optimizer_of(factor) for name, factor in FACTORS.items()}
    for _ in range(epochs):
        for start in range(0, 24, 8):
            rows = slice(start, start + 8)
            with tf.GradientTape(persistent=True) as tape:
                outputs = model(x[rows], training=True)
                topic = tf.nn.sparse_softmax_cross_entropy_with_logits(y["topic"][rows], outputs["topic"])
                price = (outputs["price"][:, 0] - y["price"][rows]) ** 2
                loss = tf.reduce_mean(topic) + tf.reduce_mean(price)
            for name, optimizer in optimizers.items():
                variables = model.get_layer(name).trainable_variables
                gradients = tape.gradient(loss, [v.value for v in variables])
                optimizer.apply(gradients, variables)
    for name, optimizer in optimizers.items():
        optimizer.finalize_variable_values(model.get_layer(name).trainable_variables)
    return model


def schedule(rate):
    return keras.optimizers.schedules.ExponentialDecay(rate, 2, 0.5)


OPTIMIZERS = {  # functions of a learning rate
    "sgd": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
    "adamw": lambda rate: keras.optimizers.AdamW(rate, weight_decay=0.3, clipnorm=0.1),
    "scheduled": lambda rate: keras.optimizers.AdamW(schedule(rate), weight_decay=0.3),
    "nadam": lambda rate: keras.optimizers.Nadam(rate),
    "lion": lambda rate: keras.optimizers.Lion(rate, weight_decay=0.3, clipvalue=0.01),
    "averaged": lambda rate: keras.optimizers.Adam(rate, use_ema=True),
    "muon": lambda rate: keras.optimizers.Muon(rate, weight_decay=0.3, adam_weight_decay=0.2),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_equals_one_optimizer_for_each_layer(kind):
    make = OPTIMIZERS[kind]
    trained = trained_with_all_labels(lambda model: layerwise(make(0.02), model, FACTORS))
    expected = trained_with_separate_optimizers(lambda factor: make(0.02 * factor))
    assert small_models.largest_difference(expected.get_weights(), trained.get_weights()) < 1e-4
    without_factors = trained_with_all_labels(lambda model: make(0.02), run_eagerly=True)
    assert small_models.largest_difference(without_factors.get_weights(), trained.get_weights()) > 1e-3


def test_decoupled_decay_in_numpy():
    """Each step computes theta (1 - f lr wd) - f lr g."""
    slow, fast = keras.Variable([2.0], name="slow"), keras.Variable([2.0], name="fast")
    optimizer = Layerwise(keras.optimizers.SGD(0.1, weight_decay=0.5), {"slow": 0.25})
    for _ in range(3):
        optimizer.apply([np.ones(1, "float32")] * 2, [slow, fast])
    for variable, factor in ((slow, 0.25), (fast, 1.0)):
        theta = 2.0
        for _ in range(3):
            theta = theta * (1 - factor * 0.1 * 0.5) - factor * 0.1
        np.testing.assert_allclose(variable.numpy(), theta, rtol=1e-6)
    assert int(optimizer.iterations) == 3


def test_global_norm_leaves_out_variables_with_factor_0():
    variables = [keras.Variable([0.0], name=name) for name in "abc"]
    optimizer = Layerwise(keras.optimizers.SGD(1.0, global_clipnorm=1.0), {"a": 0.5, "c": 0.0})
    optimizer.apply([np.array([g], "float32") for g in (3.0, 4.0, 100.0)], variables)
    np.testing.assert_allclose([float(v[0]) for v in variables], [-0.5 * 3 / 5, -4 / 5, 0], rtol=1e-6)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_factor_0_freezes_a_layer(kind):
    def frozen(model):
        optimizer = layerwise(OPTIMIZERS[kind](0.02), model, {"encoder": 0.0})
        before[:] = model.get_layer("encoder").get_weights()
        return optimizer

    before = []
    trained = trained_with_missing_labels(frozen, epochs=1, run_eagerly=kind != "adamw")
    for value, v in zip(before, trained.get_layer("encoder").weights, strict=True):
        np.testing.assert_array_equal(value, v.numpy())
    assert not np.array_equal(
        trained.get_layer("price").get_weights()[0], small_models.model().get_layer("price").kernel
    )
    assert len(with_slots(trained.optimizer, trained.get_layer("encoder").weights)) == 2


def test_slots_of_unlabelled_tasks_do_not_change():
    model = trained_with_missing_labels(lambda model: layerwise("adam", model, {"price": 3.0}), epochs=1)
    price = model.get_layer("price").weights
    assert len(with_slots(model.optimizer, price)) == 6
    before = [v.numpy() for v in with_slots(model.optimizer, price)]
    x, y = small_models.full_data(rows=8)
    model.fit(x, y, 8, sample_weight={"price": np.zeros(8), "topic": np.ones(8)}, verbose=0)
    for value, v in zip(before, with_slots(model.optimizer, price), strict=True):
        np.testing.assert_array_equal(value, v.numpy())


def test_two_replicas_equal_one():
    def optimizer_of(model):
        with model.distribute_strategy.scope():
            adam = keras.optimizers.AdamW(schedule(0.02), weight_decay=0.3, global_clipnorm=0.5)
        return layerwise(adam, model, {"encoder": 0.1, "price": 5.0})

    one = trained_with_missing_labels(optimizer_of, balancing="upgrad")
    with mtl.distribute.strategy("mirrored").scope():
        two = trained_with_missing_labels(optimizer_of, balancing="upgrad")
    assert two.distribute_strategy.num_replicas_in_sync == 2
    assert small_models.largest_difference(one.get_weights(), two.get_weights()) < 1e-4


def test_a_loaded_model_continues_as_before(tmp_path):
    model = trained_with_missing_labels(
        lambda model: layerwise(OPTIMIZERS["scheduled"](0.02), model, FACTORS), epochs=1
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.factors == model.optimizer.factors
    x, y = small_models.full_data(rows=24)
    for one in (model, loaded):
        one.fit(x, y, 8, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(loaded.optimizer.iterations) == 6


def test_resumes_from_a_checkpoint(tmp_path):
    def run(epochs, folder):
        model = small_models.model()
        model.compile(layerwise("adamw", model, FACTORS), loss=small_models.LOSS, jit_compile=False)
        x, y = small_models.full_data(rows=24)
        model.fit(
            x, y, 8, epochs=epochs, shuffle=False, verbose=0, callbacks=[mtl.callbacks.Checkpoint(tmp_path / folder)]
        )
        return model.get_weights()

    uninterrupted = run(3, "uninterrupted")
    run(1, "resumed")
    for a, b in zip(uninterrupted, run(3, "resumed"), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("outside", [True, False])
def test_loss_scaling_outside_and_inside(outside):
    def scaled(model):
        adam = keras.optimizers.Adam(0.02)
        if outside:
            return keras.optimizers.LossScaleOptimizer(layerwise(adam, model, FACTORS), initial_scale=64.0)
        return layerwise(keras.optimizers.LossScaleOptimizer(adam, initial_scale=64.0), model, FACTORS)

    trained = trained_with_all_labels(scaled)
    plain = trained_with_all_labels(lambda model: layerwise(keras.optimizers.Adam(0.02), model, FACTORS))
    assert small_models.largest_difference(plain.get_weights(), trained.get_weights()) < 1e-4


def test_callbacks_set_the_learning_rate():
    model = small_models.model()
    model.compile(layerwise(keras.optimizers.SGD(0.1), model, FACTORS), loss=small_models.LOSS, jit_compile=False)
    rate = keras.callbacks.LearningRateScheduler(lambda epoch: 0.0)
    before = model.get_weights()
    history = model.fit(*small_models.full_data(), verbose=0, callbacks=[rate])
    assert history.history["learning_rate"] == [0.0]
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def build(encoder):
    tasks = [mtl.tasks.Regression("price", hidden_units=4), mtl.tasks.Regression("rent")]
    return mtl.build_model(keras.Input((5,)), mtl.trunks.HardSharing(encoder), tasks)


def test_names_of_tasks_and_of_layers_within_layers():
    model = build(mtl.encoders.MLPEncoder([6, 4]))
    by_path = layerwise("sgd", model, {"price": 3.0, "mlp_encoder_dense_1": 0.5, "mlp_encoder": 0.1}).factors
    factors = [by_path.get(v.path, 1.0) for v in model.trainable_variables]
    assert factors == [0.1, 0.1, 0.5, 0.5, 3.0, 3.0, 3.0, 3.0, 1.0, 1.0]
    layer = layerwise("sgd", model, {model.get_layer("mlp_encoder"): 0.2}).factors
    assert list(layer.values()) == [0.2] * 4


def test_decay_over_stages_of_tokens():
    encoder = mtl.encoders.TransformerEncoder(20, 8, dim=8, layers=2, heads=2)
    model = mtl.build_model(
        keras.Input((8,), dtype="int32"), mtl.trunks.HardSharing(encoder), [mtl.tasks.Regression("a")]
    )
    by_path = layerwise("adamw", model, layerwise_decay(encoder, 0.5)).factors
    assert set(by_path) == {v.path for v in encoder.weights}
    layers = [keras.tree.flatten(stage) for stage in encoder.stages]
    by_stage = [{by_path[v.path] for layer in stage for v in layer.weights} for stage in layers]
    assert by_stage == [{0.5 ** (len(by_stage) - index)} for index in range(len(by_stage))]
    assert len(by_stage) >= 3


def test_errors():
    model = build(mtl.encoders.MLPEncoder([6, 4]))
    with pytest.raises(ValueError, match="Did you mean 'mlp_encoder'"):
        layerwise("sgd", model, {"mlpencoder": 0.1})
    with pytest.raises(ValueError, match="Did you mean 'rent'"):
        layerwise("sgd", model, {"rents": 0.1})
    for factor in (-1.0, float("nan"), float("inf"), True):
        with pytest.raises(ValueError, match=r"`factors\['rent'\]` must be a number, at least 0"):
            layerwise("sgd", model, {"rent": factor})
    with pytest.raises(ValueError, match="'other' has none"):
        layerwise("sgd", model, {keras.layers.Dense(3, name="other"): 0.1})
    with pytest.raises(TypeError, match="`factors` must be a dict"):
        layerwise("sgd", model, [0.1])
    with pytest.raises(TypeError, match="already has factors"):
        layerwise(layerwise("sgd", model, {"rent": 0.1}), model, {"rent": 0.1})
    with pytest.raises(TypeError, match="`encoder` must have `stages`"):
        layerwise_decay(keras.layers.Dense(3), 0.5)
    with pytest.raises(ValueError, match="`decay` must be above 0"):
        layerwise_decay(mtl.encoders.MLPEncoder([3]), 0)


def test_new_factors_replace_those_of_an_earlier_call():
    model, sgd = small_models.model(), keras.optimizers.SGD(1.0)
    layerwise(sgd, model, {"encoder": 0.5})
    optimizer = layerwise(sgd, model, {"encoder": 0.1})
    before = model.get_layer("price").get_weights()[1], model.get_layer("encoder").get_weights()[1]
    biases = [model.get_layer(name).bias for name in ("price", "encoder")]
    optimizer.apply([np.ones(b.shape, "float32") for b in biases], biases)
    np.testing.assert_allclose(before[0] - biases[0].numpy(), 1.0, rtol=1e-6)
    np.testing.assert_allclose(before[1] - biases[1].numpy(), 0.1, rtol=1e-5)


@pytest.mark.parametrize("factors", [{"a": 0.1}, {"a": 0.1, "b": 5.0}], ids=["first layer", "both layers"])
def test_weight_decay_on_two_replicas_equals_that_on_one(factors):
    """Also where the factor of the last layer is not 1, on both replicas."""

    def trained():
        keras.utils.set_random_seed(0)
        x = keras.Input((3,))
        model = mtl.MultiTaskModel(x, {task: keras.layers.Dense(1, name=task)(x) for task in ("b", "a")})
        optimizer = layerwise(keras.optimizers.SGD(0.1, weight_decay=0.1), model, factors)
        model.compile(optimizer, loss="mse", jit_compile=False)
        model.fit(np.ones((8, 3)), {"a": np.ones(8), "b": np.ones(8)}, batch_size=4, epochs=3, verbose=0)
        return model

    one = trained()
    with mtl.distribute.strategy("mirrored").scope():
        two = trained()
    for expected, variable in zip(one.get_weights(), two.weights, strict=True):
        for value in two.distribute_strategy.experimental_local_results(variable.value):
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6, err_msg=variable.path)
