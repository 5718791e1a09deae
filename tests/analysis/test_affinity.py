"""Affinities against closed forms, their averages, and what they leave unchanged."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

# Known answers of tasks that are linear in shared weights.
FILE = Path(__file__).with_name("linear_tasks.json")
LINEAR = {name: np.array(value) for name, value in json.loads(FILE.read_text()).items()}
RATE = float(LINEAR["learning_rate"])
TASKS = ("a", "b", "c")


def half_squared(y, output):
    return keras.ops.mean(keras.ops.square(y - output), -1) / 2


def linear(optimizer=None, **options):
    x = keras.Input((3,))
    shared = keras.layers.Dense(1, use_bias=False, name="shared")(x)
    outputs = {task: keras.layers.Identity(name=task)(shared) for task in TASKS}
    model = mtl.MultiTaskModel(x, outputs)
    model.compile(optimizer or keras.optimizers.SGD(RATE), half_squared, **options)
    model.get_layer("shared").set_weights([LINEAR["shared_weights"][:, None]])
    return model


def batch(weight=None):
    x, labels = LINEAR["x"].astype("float32"), LINEAR["labels"].astype("float32")
    return x, {task: labels[:, index] for index, task in enumerate(TASKS)}, weight or {}


def test_known_answers_of_linear_tasks():
    result = mtl.analysis.affinity(linear(), [batch()])
    np.testing.assert_allclose(result.matrix, LINEAR["affinity_i_onto_j"], atol=2e-6)
    assert result.tasks == TASKS
    assert "step for a" in str(result)
    assert not result.few_common_rows


@pytest.mark.parametrize("optimizer", [keras.optimizers.SGD(RATE), keras.optimizers.SGD(RATE, momentum=0.9)])
def test_the_optimizer_s_first_step_is_that_of_the_gradient(optimizer):
    result = mtl.analysis.affinity(linear(optimizer), [batch()], update="optimizer")
    np.testing.assert_allclose(result.matrix, LINEAR["affinity_i_onto_j"], atol=2e-6)


def test_the_optimizer_s_step_begins_at_its_state():
    """Adam's step from its moments, in NumPy; afterwards all is bit for bit as before."""
    model = linear(keras.optimizers.Adam(0.01))
    model.fit(*batch()[:2], batch_size=12, epochs=3, verbose=0)
    state = [v.numpy() for v in (*model.variables, *model.optimizer.variables)]
    result = mtl.analysis.affinity(model, [batch()], update="optimizer")
    for before, variable in zip(state, (*model.variables, *model.optimizer.variables), strict=True):
        np.testing.assert_array_equal(variable, before)
    values = {v.path.rpartition("/")[2]: v.numpy().astype("float64") for v in model.optimizer.variables}
    first, second = (next(v for name, v in values.items() if name.endswith(kind)) for kind in ("momentum", "velocity"))
    weights = model.get_layer("shared").get_weights()[0].astype("float64")
    x, labels = LINEAR["x"], LINEAR["labels"]

    def losses(weights):
        return np.mean((x @ weights - labels) ** 2, 0) / 2

    for index in range(3):
        gradient = x.T @ (x @ weights - labels[:, index : index + 1]) / 12
        moment, square = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        step = 0.01 * np.sqrt(1 - 0.999**4) / (1 - 0.9**4) * moment / (np.sqrt(square) + 1e-7)
        np.testing.assert_allclose(result.matrix[index], 1 - losses(weights - step) / losses(weights), atol=1e-5)


def test_the_first_order_estimate_is_near_for_small_steps():
    exact = mtl.analysis.affinity(linear(), [batch()], learning_rate=1e-3)
    estimate = mtl.analysis.affinity(linear(), [batch()], update="first_order", learning_rate=1e-3)
    np.testing.assert_allclose(estimate.matrix, exact.matrix, atol=2e-5)
    assert abs(exact.matrix).max() > 3e-4


def test_tasks_without_labels_and_means_over_batches():
    unlabelled = {"b": np.zeros(12, "float32")}
    half = {"c": np.repeat([1.0, 0.0], 6).astype("float32")}
    model = linear()
    alone = [mtl.analysis.affinity(model, [given]) for given in (batch(unlabelled), batch(half))]
    assert np.isnan(alone[0].matrix[1]).all()
    assert np.isnan(alone[0].matrix[:, 1]).all()
    both = mtl.analysis.affinity(model, [batch(unlabelled), batch(half)])
    np.testing.assert_allclose(both.matrix, np.nanmean([each.matrix for each in alone], 0), rtol=1e-6)
    np.testing.assert_allclose(both.common, [[1, 0.5, 0.75], [0.5, 1, 0.25], [0.75, 0.25, 1]])


def test_cosines_and_conflicts_by_layer():
    x = keras.Input((3,))
    first = keras.layers.Dense(4, activation="tanh", name="first")(x)
    second = keras.layers.Dense(2, name="second")(first)
    outputs = {task: keras.layers.Dense(1, name=task)(second) for task in TASKS}
    model = mtl.MultiTaskModel(x, outputs)
    model.compile("sgd", "mse")
    x, y, _ = batch()
    result = mtl.analysis.affinity(model, [(x, y)])
    assert list(result.cosines) == ["first", "second"]
    for name, cosines in result.cosines.items():
        with tf.GradientTape(persistent=True) as tape:
            output = model(x)
            losses = [tf.reduce_mean((y[task][:, None] - output[task]) ** 2) for task in TASKS]
        variables = [v.value for v in model.get_layer(name).trainable_variables]
        rows = [np.concatenate([np.ravel(g) for g in tape.gradient(loss, variables)]) for loss in losses]
        rows = np.array([row / np.linalg.norm(row) for row in rows])
        np.testing.assert_allclose(cosines, rows @ rows.T, atol=1e-5)
        assert result.conflicts[name] == pytest.approx(np.mean((rows @ rows.T)[np.triu_indices(3, 1)] < 0))


def test_two_replicas_measure_what_one_does():
    expected = mtl.analysis.affinity(linear(), [batch()])
    with mtl.distribute.strategy("mirrored").scope():
        model = linear()
    np.testing.assert_allclose(mtl.analysis.affinity(model, [batch()]).matrix, expected.matrix, atol=1e-6)
    callback = mtl.callbacks.TaskAffinity([batch()], every=2)
    model.fit(*batch()[:2], batch_size=12, epochs=4, verbose=0, callbacks=[callback])
    assert callback.measurements == int(tf.convert_to_tensor(model.optimizer.iterations.value)) // 2 > 0
    with pytest.raises(ValueError, match="not supported on several replicas"):
        mtl.analysis.affinity(model, [batch()], update="optimizer")


def test_errors():
    with pytest.raises(ValueError, match="`update` must be one of"):
        mtl.analysis.affinity(linear(), [batch()], update="adam")
    with pytest.raises(ValueError, match="`learning_rate`"):
        mtl.analysis.affinity(linear(), [batch()], learning_rate=-1.0)
    x = keras.Input((3,))
    apart = mtl.MultiTaskModel(x, {task: keras.layers.Dense(1, name=task)(x) for task in TASKS})
    apart.compile("sgd", "mse")
    with pytest.raises(ValueError, match="nothing trainable is shared"):
        mtl.analysis.affinity(apart, [batch()])


def mmoe_pair(correlation, rows=2048, dim=32, seed=0):
    """The tasks of Ma et al., KDD 2018, section 3.3, whose weight vectors have the cosine `correlation`."""
    rng = np.random.default_rng(seed)
    one, other = np.linalg.qr(rng.normal(size=(dim, 2)))[0].T
    x = rng.normal(size=(rows, dim))
    frequencies, phases = rng.normal(size=(2, 4))
    labels = {}
    for name, vector in {"a": one, "b": correlation * one + np.sqrt(1 - correlation**2) * other}.items():
        z = x @ vector
        noise = rng.normal(scale=0.01, size=rows)
        y = z + np.sin(z[:, None] * frequencies + phases).sum(1) + noise
        labels[name] = (y - y.mean()).astype("float32")
    return x.astype("float32"), labels


def test_affinity_rises_with_the_correlation_of_mmoe_s_tasks():
    """Tasks with the same small head, which differ in their labels alone."""
    keras.utils.set_random_seed(0)
    trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([32]))
    model = mtl.build_model(keras.Input((32,)), trunk, [mtl.tasks.Regression(name) for name in "ab"])
    model.compile(keras.optimizers.SGD(0.02), jit_compile=False)
    own = model._engine.parts.own
    for one, other in zip(own["a"], own["b"], strict=True):
        one.assign(0.1 * one.value)
        other.assign(one)
    for seed in range(3):
        ratios = []
        for correlation in (0.0, 0.25, 0.5, 0.75, 1.0):
            matrix = mtl.analysis.affinity(model, [mmoe_pair(correlation, seed=seed)]).matrix
            ratios.append(matrix[0, 1] / matrix[1, 1])
        assert (np.diff(ratios) > 0).all(), ratios
        assert ratios[0] < 0.5 < ratios[-1], ratios
        assert ratios[-1] == pytest.approx(1, abs=0.01)
