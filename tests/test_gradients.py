"""The inputs of gradient methods and the effect of their results, compared with NumPy."""

import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

import tf_mtl as mtl


class Recorder(mtl.balancing.Weighting):
    """Records the Gramian and the losses; returns fixed weights."""

    def build(self, input_shape):
        self.gramian = self.add_state("gramian", (2, 2))
        self.recorded_losses = self.add_state("recorded_losses", (2,))

    def call(self, gramian, losses=None):
        self.gramian.assign(gramian)
        self.recorded_losses.assign(losses)
        return tf.constant([0.25, 3.0])


class JacobianRecorder(mtl.balancing.Aggregator):
    """Records the Jacobian; returns a fixed combination of its rows."""

    def build(self, input_shape):
        self.jacobian = self.add_state("jacobian", input_shape)

    def call(self, jacobian, losses=None):
        self.jacobian.assign(jacobian)
        return 0.25 * jacobian[0] + 3.0 * jacobian[1]


def linear_model():
    """h = x U, a = h v, b = h w, with one output for each task."""
    keras.utils.set_random_seed(5)
    x = keras.Input((3,))
    h = keras.layers.Dense(4, use_bias=False, name="encoder")(x)
    heads = {t: keras.layers.Dense(1, use_bias=False, name=t)(h) for t in ("a", "b")}
    return mtl.MultiTaskModel(x, heads)


def losses_and_gradients(x, y, u, heads):
    """Mean squared errors and their gradients with respect to the features, U and the heads."""
    h = x @ u
    losses, feature_gradients, u_gradients, head_gradients = [], [], [], []
    for task, v in heads.items():
        error = h @ v - y[task][:, None]
        losses.append((error**2).mean())
        feature_gradients.append(2 * error / len(x) @ v.T)
        u_gradients.append(x.T @ feature_gradients[-1])
        head_gradients.append(h.T @ (2 * error / len(x)))
    return losses, feature_gradients, u_gradients, head_gradients


@pytest.mark.parametrize("gradients", ["parameters", "features"])
@pytest.mark.parametrize("loss_weights", [None, {"a": 2.0, "b": 0.5}])
@pytest.mark.parametrize("method", [Recorder, JacobianRecorder])
def test_gramian_jacobian_and_update(method, gradients, loss_weights):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(8, 3))
    y = {task: rng.normal(size=8) for task in ("a", "b")}
    model = linear_model()
    if method is JacobianRecorder and gradients == "features":
        method = type(
            "OfFeatures",
            (JacobianRecorder,),
            {
                "build": lambda self, shape: JacobianRecorder.build(self, (2, 32)),
            },
        )
    model.compile(
        keras.optimizers.SGD(0.1), loss="mse", loss_weights=loss_weights, balancing=method(), gradients=gradients
    )
    before = {v.path: v.numpy().astype("float64") for v in model.variables}
    model.fit(x, y, shuffle=False, verbose=0)

    heads = {task: before[f"{task}/kernel"] for task in ("a", "b")}
    losses, feature_gradients, u_gradients, head_gradients = losses_and_gradients(x, y, before["encoder/kernel"], heads)
    factors = [1.0, 1.0] if loss_weights is None else [2.0, 0.5]
    rows = u_gradients if gradients == "parameters" else feature_gradients
    jacobian = np.stack([f * row.ravel() for f, row in zip(factors, rows, strict=True)])
    recorder = model.balancing
    if isinstance(recorder, Recorder):
        np.testing.assert_allclose(recorder.gramian.numpy(), jacobian @ jacobian.T, rtol=1e-5)
        np.testing.assert_allclose(recorder.recorded_losses.numpy(), np.multiply(factors, losses), rtol=1e-5)
    else:
        np.testing.assert_allclose(recorder.jacobian.numpy(), jacobian, rtol=1e-4, atol=1e-6)
    direction = 0.25 * factors[0] * u_gradients[0] + 3.0 * factors[1] * u_gradients[1]
    after = {v.path: v.numpy() for v in model.variables}
    np.testing.assert_allclose(
        after["encoder/kernel"], before["encoder/kernel"] - 0.1 * direction, rtol=1e-4, atol=1e-6
    )
    for task, factor, gradient in zip(("a", "b"), factors, head_gradients, strict=True):
        path = f"{task}/kernel"  # a task's own variables get the gradient of its loss, whatever the weights
        np.testing.assert_allclose(after[path], before[path] - 0.1 * factor * gradient, rtol=1e-4, atol=1e-6)


def test_gradient_cosines():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(8, 3)).astype("float32")
    y = {task: rng.normal(size=8).astype("float32") for task in ("a", "b")}
    model = linear_model()
    model.compile("sgd", loss="mse")
    heads = {task: model.get_layer(task).get_weights()[0] for task in ("a", "b")}
    _, _, (a, b), _ = losses_and_gradients(x, y, model.get_layer("encoder").get_weights()[0], heads)
    expected = (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)
    cosines = model.gradient_cosines((x, y))
    assert cosines[0, 1] == pytest.approx(expected, rel=1e-4)
    assert cosines[0, 0] == pytest.approx(1.0, rel=1e-5)
    unlabelled = model.gradient_cosines((x, y, {"a": np.zeros(8)}))
    assert np.isnan(unlabelled[0, 1])
    assert not np.isnan(unlabelled[1, 1])


def test_scalarizers_learn_their_own_variables():
    """Kendall's objective: the derivative of sum exp(-s) L + s by s is 1 - exp(-s) L."""
    model = linear_model()
    method = small_models.LearnedWeights()
    model.compile(keras.optimizers.SGD(0.1), loss="mse", balancing=method)
    x = np.ones((4, 3), "float32")
    y = {"a": np.full(4, 3.0), "b": np.full(4, -2.0)}
    losses = model.evaluate(x, y, verbose=0, return_dict=True)
    model.fit(x, y, verbose=0)
    expected = [-0.1 * (1 - losses[f"{task}_loss"]) for task in ("a", "b")]
    np.testing.assert_allclose(method.s.numpy(), expected, rtol=1e-5)
    assert all(v is not method.s for v in model.trainable_variables)


def test_compile_replaces_the_previous_method():
    model = small_models.model()
    x, y = small_models.full_data()
    metrics = {"topic": ["accuracy"], "price": ["mae"]}
    for method in (small_models.LearnedWeights(), small_models.InverseNorm(), "equal"):
        model.compile("adam", loss=small_models.LOSS, balancing=method, metrics=metrics)
        logs = model.fit(x, y, verbose=0).history
        assert set(logs) == {
            "loss",
            "topic_loss",
            "price_loss",
            *(f"{t}_{name}" for t, names in metrics.items() for name in names),
            *(() if method == "equal" else ("weight/topic", "weight/price")),
            *(("conflict", "cosine/topic/price") if isinstance(method, small_models.InverseNorm) else ()),
        }
        assert len(model.metrics) == (3 if method == "equal" else 4)
        metrics = {"topic": [], "price": []}
    assert len(model.variables) == 6
    assert type(model.balancing) is mtl.balancing.Equal


@pytest.mark.parametrize("shape", ["one layer", "tasks that overlap", "a layer that two of three share"])
def test_features_that_two_tasks_do_not_both_read_are_refused(shape):
    """Gradients of different outputs of one layer never seem to conflict."""
    x = keras.Input((4,))
    first, second = keras.layers.Lambda(lambda h: [h, 2 * h])(keras.layers.Dense(3)(x))
    if shape == "a layer that two of three share":
        middle = keras.layers.Dense(3)(first)
        reads = {"a": middle, "b": middle, "c": first}
    elif shape == "one layer":
        reads = {"a": first, "b": second}
    else:
        reads = {"a": first, "b": keras.layers.Concatenate()([first, second]), "c": second}
    model = mtl.MultiTaskModel(x, {task: keras.layers.Dense(1)(h) for task, h in reads.items()})
    last = list(reads)[-1]
    with pytest.raises(ValueError, match=f"'a' and '{last}' read different outputs.*gradients='parameters'"):
        model.compile("sgd", loss="mse", balancing="upgrad", gradients="features")
    model.compile("sgd", loss="mse", balancing="equal", gradients="features")  # which balances no gradients
