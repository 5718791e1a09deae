"""Methods with state, step by step against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.balancing._pcgrad import orders_of_others

RNG = np.random.default_rng(4)
JACOBIANS = RNG.normal(size=(4, 3, 5))
LOSSES = RNG.uniform(0.5, 2, size=(4, 3))


def project(point):
    """The nearest point of the simplex, by bisection on the shift."""
    low, high = point.min() - 1, point.max()
    for _ in range(100):
        shift = (low + high) / 2
        low, high = (shift, high) if np.maximum(point - shift, 0).sum() > 1 else (low, shift)
    return np.maximum(point - shift, 0)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)


def test_moco():
    method = mtl.balancing.MoCo(beta=0.3, gamma=0.2, rho=0.5)
    rows, weights = np.zeros((3, 5)), np.ones(3) / 3
    for jacobian in JACOBIANS:
        rows += 0.3 * (jacobian - rows)
        weights = project(weights - 0.2 * (rows @ rows.T @ weights + 0.5 * weights))
        close(method(jacobian), rows.T @ weights)


@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_dbmtl(sigma):
    method = mtl.balancing.DBMTL(beta=0.9, sigma=sigma)
    rows = np.zeros((3, 5))
    for step, jacobian in enumerate(JACOBIANS, 1):
        kept = 0.9 / step**sigma
        rows = kept * rows + (1 - kept) * jacobian
        norms = np.linalg.norm(rows, axis=1)
        close(method(jacobian), rows.T @ (norms.max() / norms))
    close(method.transform(tf.constant([0.5, 0.0, 2.0])), [np.log(0.5), 0, np.log(2)])


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
        close(method(jacobian), jacobian.T @ weights)


def test_modo():
    method = mtl.balancing.MoDo(gamma=0.3, rho=0.2)
    weights = np.ones(3) / 3
    for one, other in zip(JACOBIANS, JACOBIANS[::-1], strict=True):
        weights = project(weights - 0.3 * (one @ other.T @ weights + 0.2 * weights))
        close(method(one @ other.T), weights)


def test_sdmgrad():
    method = mtl.balancing.SDMGrad()
    point = np.ones(3) / 3
    for one, other in zip(JACOBIANS, JACOBIANS[::-1], strict=True):
        product = one @ other.T
        product /= np.sqrt(np.maximum(np.diag(product), 0) + 1e-4).mean() ** 2
        speed = 0
        for _ in range(20):
            speed = 0.5 * speed + product @ (point + 0.3 / 3)
            point = project(point - 10 * speed)
        close(method(one @ other.T), (point + 0.1) / 1.3)


def test_gradvac():
    method = mtl.balancing.GradVac(beta=0.3, seed=5)
    orders = orders_of_others
    targets = np.zeros((3, 3))
    for step, jacobian in enumerate(JACOBIANS, 1):
        moved = jacobian.copy()
        for i, order in enumerate(orders(3, tf.constant([5, step], tf.int64)).numpy()):
            for j in order:
                cosine = moved[i] @ jacobian[j] / np.linalg.norm(moved[i]) / np.linalg.norm(jacobian[j])
                target = targets[i, j]
                if cosine < target:
                    factor = np.linalg.norm(moved[i]) * (
                        target * np.sqrt(1 - cosine**2) - cosine * np.sqrt(1 - target**2)
                    )
                    moved[i] += factor / (np.linalg.norm(jacobian[j]) * np.sqrt(1 - target**2)) * jacobian[j]
                targets[i, j] = 0.7 * target + 0.3 * cosine
        weights = method(jacobian @ jacobian.T).numpy()
        close(jacobian.T @ weights, moved.sum(0))
        close(method.targets.numpy(), targets)


def test_grad_drop_keeps_one_sign_with_its_share_as_probability():
    jacobian = np.tile(np.array([[3.0, 1.0, 2.0], [-1.0, 1.0, -2.0]]), 4000)
    found = mtl.balancing.GradDrop(seed=3)(jacobian).numpy().reshape(4000, 3)
    assert set(found[:, 0]) == {3.0, -1.0}
    assert (found[:, 0] == 3.0).mean() == pytest.approx(0.75, abs=0.03)
    assert set(found[:, 1]) == {2.0}
    assert set(found[:, 2]) == {2.0, -2.0}
    assert (found[:, 2] == 2.0).mean() == pytest.approx(0.5, abs=0.03)


def test_ema():
    method, plain = mtl.balancing.EMA(mtl.balancing.MGDA(), beta=0.8), mtl.balancing.MGDA()
    mean = None
    for jacobian in JACOBIANS:
        weights = plain(jacobian @ jacobian.T).numpy()
        mean = weights if mean is None else 0.8 * mean + 0.2 * weights
        close(method(jacobian @ jacobian.T), mean)


def test_every_keeps_weights_between():
    plain = mtl.balancing.NashMTL(max_norm=2.0)
    method = mtl.balancing.Every(plain, 3)
    found = [method(jacobian @ jacobian.T).numpy() for jacobian in JACOBIANS]
    close(found[0], plain(JACOBIANS[0] @ JACOBIANS[0].T))
    close(found[1], found[0])
    close(found[2], found[0])
    close(found[3], plain(JACOBIANS[3] @ JACOBIANS[3].T))


def test_krum_leaves_out_the_one_unlike_the_others():
    jacobian = np.array([[1.0, 0], [1.1, 0], [1, 0.2], [50, -40], [1, -0.3]])
    distances = ((jacobian[:, None] - jacobian) ** 2).sum(-1)
    nearest = np.sort(distances, 1)[:, 1:3].sum(1)  # T - f - 2 = 2 others
    expected = np.isin(np.arange(5), np.argsort(nearest)[:3]) / 3
    assert expected[3] == 0
    close(mtl.balancing.Krum(byzantine=1, selected=3)(jacobian @ jacobian.T), expected)


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
def test_state_of_a_task_without_labels_stays(name):
    """After two steps with all three tasks, three without labels for the second."""
    make, states = WITH_STATE[name]
    method = make()

    def step(number):
        present = np.array([1, number < 2, 1])
        jacobian, losses = JACOBIANS[number % 4] * present[:, None], LOSSES[number % 4] * present
        if isinstance(method, B.Scalarizer):
            method(losses)
            method.observe(tf.constant(LOSSES[(number + 1) % 4] * present, tf.float32))
        else:
            given = jacobian if isinstance(method, B.Aggregator) else jacobian @ jacobian.T
            return method(given, losses=losses).numpy()

    for number in range(2):
        step(number)
    before = [getattr(method, state).numpy() for state in states]
    for number in range(2, 5):
        found = step(number)
        if name in ("SDMGrad", "MoDo"):
            assert found[[0, 2]].sum() > 0.9  # the tasks with labels share the simplex
    for state, value in zip(states, before, strict=True):
        after = getattr(method, state).numpy()
        np.testing.assert_array_equal(after[1], value[1])
        if state not in ("first_losses", "simplex"):
            assert np.abs(after - value).max() > 1e-4


def test_a_task_that_comes_later_begins_afresh():
    """EMA takes its first weight as it is, Every solves again, and MoCo waits for its first gradient."""
    first, second = np.diag([1.0, 0.0]), np.eye(2)
    method = B.EMA(B.UPGrad())
    close(method(first), [0.5, 0])
    close(method(second), [0.5, 0.5])
    method = B.Every(B.MGDA(), 10)
    close(method(first), [1, 0])
    close(method(second), [0.5, 0.5])
    method(4 * second)
    close(method(first), [0.5, 0.5])
    method = B.MoCo(beta=1.0, rho=0.0)
    for _ in range(5):
        close(method(np.array([[3.0, 0], [0, 0]])), [3, 0])
    assert method.simplex.numpy() == pytest.approx([0.5, 0.5])


def test_an_epoch_without_labels_does_not_count_for_dwa():
    method = B.DWA(temperature=1.0)
    for losses in ([1.0, 4.0], [0.5, 0.0], [0.25, 1.0]):
        method(np.array(losses))
        method.end_epoch()
    rates = np.array([0.5, 0.25])
    weights = 2 * np.exp(rates) / np.exp(rates).sum()
    assert float(method(np.array([1.0, 10.0]))) == pytest.approx(weights @ [1, 10])


def test_first_gradients_that_are_tiny_do_not_spoil_excess_mtl():
    method = B.ExcessMTL()
    method(np.full((2, 3), 1e-4))
    assert np.isfinite(method(np.array([[100.0, 0, 0], [0, 1, 0]]))).all()
    assert np.isfinite(method(JACOBIANS[0][:2, :3])).all()


@pytest.mark.parametrize("method", [B.MoDo(), B.MoCo(), B.SDMGrad()], ids=lambda method: method.name)
def test_large_gradients_stay_on_the_simplex(method):
    jacobian = np.array([[1e5, 2e4, 0], [-3e5, 1e5, 1.0]], "float32")
    for _ in range(5):
        method(jacobian if isinstance(method, B.Aggregator) else jacobian @ jacobian.T)
        assert method.simplex.numpy().sum() == pytest.approx(1)


def test_random_numbers_are_uniform_normal_and_the_same_under_xla():
    from tf_mtl.balancing import _random

    found = {}
    for jit in (False, True):
        draw = tf.function(lambda seed: (_random.uniform(20_000, seed), _random.normal(20_000, seed)), jit_compile=jit)
        found[jit] = [values.numpy() for values in draw(tf.constant([3, 1], tf.int64))]
    np.testing.assert_array_equal(found[True][0], found[False][0])
    np.testing.assert_allclose(found[True][1], found[False][1], rtol=1e-4, atol=1e-5)
    values, normals = found[False]
    counts = np.histogram(values, 20, (0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 50  # chi squared with 19 degrees of freedom
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.03
    others = _random.uniform(20_000, tf.constant([3, 2], tf.int64)).numpy()
    assert abs(np.corrcoef(values, others)[0, 1]) < 0.03
    assert normals.mean() == pytest.approx(0, abs=0.03)
    assert normals.std() == pytest.approx(1, abs=0.03)
