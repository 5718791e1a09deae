"""Methods with state, compared with NumPy step by step."""

import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.balancing import _random
from tf_mtl.balancing._pcgrad import orders_of_others

RNG = np.random.default_rng(4)
JACOBIANS = RNG.normal(size=(4, 3, 5))
LOSSES = RNG.uniform(0.5, 2, size=(4, 3))


def project(point):
    """Return the nearest point of the simplex, found by bisection of the shift."""
    low, high = point.min() - 1, point.max()
    for _ in range(100):
        shift = (low + high) / 2
        low, high = (shift, high) if np.maximum(point - shift, 0).sum() > 1 else (low, shift)
    return np.maximum(point - shift, 0)


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=1e-6)


def test_moco():
    method = mtl.balancing.MoCo(beta=0.3, gamma=0.2, rho=0.5)
    rows, weights = np.zeros((3, 5)), np.ones(3) / 3
    for jacobian in JACOBIANS:
        rows += 0.3 * (jacobian - rows)
        weights = project(weights - 0.2 * (rows @ rows.T @ weights + 0.5 * weights))
        assert_close(method(jacobian), rows.T @ weights)


@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_dbmtl(sigma):
    method = mtl.balancing.DBMTL(beta=0.9, sigma=sigma)
    rows = np.zeros((3, 5))
    for step, jacobian in enumerate(JACOBIANS, 1):
        decay = 0.9 / step**sigma
        rows = decay * rows + (1 - decay) * jacobian
        norms = np.linalg.norm(rows, axis=1)
        assert_close(method(jacobian), rows.T @ (norms.max() / norms))
    assert_close(method.transform(tf.constant([0.5, 0.0, 2.0])), [np.log(0.5), 0, np.log(2)])


def test_excess_mtl():
    method = mtl.balancing.ExcessMTL(eta=0.5)
    squares, weights, first = np.zeros((3, 5)), np.ones(3), None
    for jacobian in JACOBIANS:
        squares += jacobian**2
        excess = (jacobian**2 / np.sqrt(squares + 1e-7)).sum(1)
        if first is None:
            first = excess
        else:
            weights = weights * np.exp(0.5 * excess / first)
            weights *= 3 / weights.sum()
        assert_close(method(jacobian), jacobian.T @ weights)


def test_modo():
    method = mtl.balancing.MoDo(gamma=0.3, rho=0.2)
    weights = np.ones(3) / 3
    for one, other in zip(JACOBIANS, JACOBIANS[::-1], strict=True):
        weights = project(weights - 0.3 * (one @ other.T @ weights + 0.2 * weights))
        assert_close(method(one @ other.T), weights)


def test_sdmgrad():
    method = mtl.balancing.SDMGrad()
    point = np.ones(3) / 3
    for one, other in zip(JACOBIANS, JACOBIANS[::-1], strict=True):
        product = one @ other.T
        product /= np.sqrt(np.maximum(np.diag(product), 0) + 1e-4).mean() ** 2
        velocity = 0
        for _ in range(20):
            velocity = 0.5 * velocity + product @ (point + 0.3 / 3)
            point = project(point - 10 * velocity)
        assert_close(method(one @ other.T), (point + 0.1) / 1.3)


def test_gradvac():
    method = mtl.balancing.GradVac(beta=0.3, seed=5)
    targets = np.zeros((3, 3))
    for step, jacobian in enumerate(JACOBIANS, 1):
        corrected = jacobian.copy()
        for i, order in enumerate(orders_of_others(3, tf.constant([5, step], tf.int64)).numpy()):
            for j in order:
                cosine = corrected[i] @ jacobian[j] / np.linalg.norm(corrected[i]) / np.linalg.norm(jacobian[j])
                target = targets[i, j]
                if cosine < target:
                    factor = np.linalg.norm(corrected[i]) * (
                        target * np.sqrt(1 - cosine**2) - cosine * np.sqrt(1 - target**2)
                    )
                    corrected[i] += factor / (np.linalg.norm(jacobian[j]) * np.sqrt(1 - target**2)) * jacobian[j]
                targets[i, j] = 0.7 * target + 0.3 * cosine
        weights = method(jacobian @ jacobian.T).numpy()
        assert_close(jacobian.T @ weights, corrected.sum(0))
        assert_close(method.targets.numpy(), targets)


def test_grad_drop_keeps_one_sign_with_its_fraction_as_probability():
    jacobian = np.tile(np.array([[3.0, 1.0, 2.0], [-1.0, 1.0, -2.0]]), 4000)
    direction = mtl.balancing.GradDrop(seed=3)(jacobian).numpy().reshape(4000, 3)
    assert set(direction[:, 0]) == {3.0, -1.0}
    assert (direction[:, 0] == 3.0).mean() == pytest.approx(0.75, abs=0.03)
    assert set(direction[:, 1]) == {2.0}
    assert set(direction[:, 2]) == {2.0, -2.0}
    assert (direction[:, 2] == 2.0).mean() == pytest.approx(0.5, abs=0.03)


def test_ema():
    method, plain = mtl.balancing.EMA(mtl.balancing.MGDA(), beta=0.8), mtl.balancing.MGDA()
    mean = None
    for jacobian in JACOBIANS:
        weights = plain(jacobian @ jacobian.T).numpy()
        mean = weights if mean is None else 0.8 * mean + 0.2 * weights
        assert_close(method(jacobian @ jacobian.T), mean)


def test_every_reuses_weights_between_solutions():
    plain = mtl.balancing.NashMTL(max_norm=2.0)
    method = mtl.balancing.Every(plain, 3)
    weights = [method(jacobian @ jacobian.T).numpy() for jacobian in JACOBIANS]
    assert_close(weights[0], plain(JACOBIANS[0] @ JACOBIANS[0].T))
    assert_close(weights[1], weights[0])
    assert_close(weights[2], weights[0])
    assert_close(weights[3], plain(JACOBIANS[3] @ JACOBIANS[3].T))


def test_krum_leaves_out_the_outlier():
    jacobian = np.array([[1.0, 0], [1.1, 0], [1, 0.2], [50, -40], [1, -0.3]])
    distances = ((jacobian[:, None] - jacobian) ** 2).sum(-1)
    nearest = np.sort(distances, 1)[:, 1:3].sum(1)  # T - f - 2 = 2 others
    expected = np.isin(np.arange(5), np.argsort(nearest)[:3]) / 3
    assert expected[3] == 0
    assert_close(mtl.balancing.Krum(byzantine=1, selected=3)(jacobian @ jacobian.T), expected)


B = mtl.balancing
WITH_STATE = {
    "MoCo": (B.MoCo, ["rows"]),
    "DBMTL": (B.DBMTL, ["rows"]),
    "ExcessMTL": (B.ExcessMTL, ["squares"]),
    "GradVac": (B.GradVac, ["targets"]),
    "EMA": (lambda: B.EMA(B.MGDA()), ["mean"]),
    "SDMGrad": (B.SDMGrad, ["simplex"]),
    "MoDo": (B.MoDo, ["simplex"]),
    "GradNorm": (B.GradNorm, ["first_losses"]),
    "FAMO": (B.FAMO, ["logits"]),
}


@pytest.mark.parametrize("name", WITH_STATE)
def test_state_of_a_task_without_labels_does_not_change(name):
    """Two steps with labels for all three tasks, and then three without labels for the second task."""
    make, states = WITH_STATE[name]
    method = make()

    def step(number):
        present = np.array([1, number < 2, 1])
        jacobian, losses = JACOBIANS[number % 4] * present[:, None], LOSSES[number % 4] * present
        if isinstance(method, B.Scalarizer):
            method(losses)
            method.observe(tf.constant(LOSSES[(number + 1) % 4] * present, tf.float32))
        else:
            values = jacobian if isinstance(method, B.Aggregator) else jacobian @ jacobian.T
            return method(values, losses=losses).numpy()

    for number in range(2):
        step(number)
    before = [getattr(method, state).numpy() for state in states]
    for number in range(2, 5):
        weights = step(number)
        if name in ("SDMGrad", "MoDo"):
            assert weights[[0, 2]].sum() > 0.9  # the tasks with labels share the simplex
    for state, value in zip(states, before, strict=True):
        after = getattr(method, state).numpy()
        np.testing.assert_array_equal(after[1], value[1])
        if state not in ("first_losses", "simplex"):
            assert np.abs(after - value).max() > 1e-4


def test_a_task_whose_first_labels_come_later():
    """EMA starts at its first weight, Every solves again, and MoCo does not move its weight before."""
    first, second = np.diag([1.0, 0.0]), np.eye(2)
    method = B.EMA(B.UPGrad())
    assert_close(method(first), [0.5, 0])
    assert_close(method(second), [0.5, 0.5])
    method = B.Every(B.MGDA(), 10)
    assert_close(method(first), [1, 0])
    assert_close(method(second), [0.5, 0.5])
    method(4 * second)
    assert_close(method(first), [0.5, 0.5])
    method = B.MoCo(beta=1.0, rho=0.0)
    for _ in range(5):
        assert_close(method(np.array([[3.0, 0], [0, 0]])), [3, 0])
    assert method.simplex.numpy() == pytest.approx([0.5, 0.5])


def test_dwa_ignores_an_epoch_without_labels():
    method = B.DWA(temperature=1.0)
    for losses in ([1.0, 4.0], [0.5, 0.0], [0.25, 1.0]):
        method(np.array(losses))
        method.end_epoch()
    rates = np.array([0.5, 0.25])
    weights = 2 * np.exp(rates) / np.exp(rates).sum()
    assert float(method(np.array([1.0, 10.0]))) == pytest.approx(weights @ [1, 10])


def test_excess_mtl_stays_finite_after_tiny_first_gradients():
    method = B.ExcessMTL()
    method(np.full((2, 3), 1e-4))
    assert np.isfinite(method(np.array([[100.0, 0, 0], [0, 1, 0]]))).all()
    assert np.isfinite(method(JACOBIANS[0][:2, :3])).all()


@pytest.mark.parametrize("method", [B.MoDo(), B.MoCo(), B.SDMGrad()], ids=lambda method: method.name)
def test_weights_stay_on_the_simplex_with_large_gradients(method):
    jacobian = np.array([[1e5, 2e4, 0], [-3e5, 1e5, 1.0]], "float32")
    for _ in range(5):
        method(jacobian if isinstance(method, B.Aggregator) else jacobian @ jacobian.T)
        assert method.simplex.numpy().sum() == pytest.approx(1)


def test_random_numbers_are_uniform_normal_and_the_same_under_xla():
    numbers = {}
    for jit in (False, True):
        draw = tf.function(lambda seed: (_random.uniform(20_000, seed), _random.normal(20_000, seed)), jit_compile=jit)
        numbers[jit] = [values.numpy() for values in draw(tf.constant([3, 1], tf.int64))]
    np.testing.assert_array_equal(numbers[True][0], numbers[False][0])
    np.testing.assert_allclose(numbers[True][1], numbers[False][1], rtol=1e-4, atol=1e-5)
    values, normals = numbers[False]
    counts = np.histogram(values, 20, (0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 50  # chi squared with 19 degrees of freedom
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.03
    others = _random.uniform(20_000, tf.constant([3, 2], tf.int64)).numpy()
    assert abs(np.corrcoef(values, others)[0, 1]) < 0.03
    assert normals.mean() == pytest.approx(0, abs=0.03)
    assert normals.std() == pytest.approx(1, abs=0.03)
