"""Properties of the methods, on Jacobians of every rank with norms that differ by up to six orders of magnitude."""

import functools

import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

WEIGHTINGS = {  # those that are functions of the Gramian alone
    "MGDA": mtl.balancing.MGDA,
    "UPGrad": mtl.balancing.UPGrad,
    "DualProj": mtl.balancing.DualProj,
    "CAGrad": mtl.balancing.CAGrad,
    "NashMTL": mtl.balancing.NashMTL,
    "FairGrad": mtl.balancing.FairGrad,
    "AlignedMTL": mtl.balancing.AlignedMTL,
    "IMTLGrad": mtl.balancing.IMTLGrad,
}
NEVER_CONFLICT = ("MGDA", "UPGrad", "DualProj", "NashMTL", "FairGrad")
SIZES = range(2, 11)


@functools.cache
def solver(name, size, dtype):
    method = WEIGHTINGS[name]() if isinstance(name, str) else name()
    return tf.function(method, input_signature=[tf.TensorSpec((size, size), dtype)], autograph=False)


def weights_of(name, jacobian, dtype="float64"):
    product = (jacobian @ jacobian.T).astype(dtype)
    return solver(name, len(jacobian), dtype)(product).numpy().astype("float64")


def jacobians(size, count=12, seed=0):
    """Yield random Jacobians of every rank up to `size`."""
    rng = np.random.default_rng([size, seed])
    for number in range(count):
        rank = number % (size + 1) + 1
        rows = rng.normal(size=(size, rank)) @ rng.normal(size=(rank, size + 4))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        yield rows * 10 ** rng.uniform(-3, 3, (size, 1))


def length_and_cosines(jacobian, weights):
    """Return the direction's length relative to that of its terms, and its cosines with the rows."""
    direction = jacobian.T @ weights
    norms = np.linalg.norm(jacobian, axis=1)
    length = np.linalg.norm(direction)
    return length / (np.abs(weights) @ norms), jacobian @ direction / norms / max(length, 1e-300)


@pytest.mark.parametrize(("dtype", "zero"), [("float64", 1e-7), ("float32", 1e-2)])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NEVER_CONFLICT)
def test_never_conflicts(name, size, dtype, zero):
    """Directions so short that they are rounding errors of zero are skipped."""
    count = 0
    for jacobian in jacobians(size, 24):
        length, cosines = length_and_cosines(jacobian, weights_of(name, jacobian, dtype))
        if length > zero:
            count += 1
            assert cosines.min() >= -1e-4
    assert count >= 8


@pytest.mark.parametrize("size", SIZES)
def test_config_gives_equal_cosines(size):
    for jacobian in jacobians(size):
        if np.linalg.matrix_rank(jacobian / np.linalg.norm(jacobian, axis=1, keepdims=True)) == size:
            direction = mtl.balancing.ConFIG()(jacobian).numpy()
            cosines = jacobian @ direction / np.linalg.norm(jacobian, axis=1) / np.linalg.norm(direction)
            np.testing.assert_allclose(cosines, np.full(size, cosines.mean()), rtol=1e-6)
            assert cosines.mean() > 0
            assert np.linalg.norm(direction) == pytest.approx(
                (jacobian @ direction).sum() / np.linalg.norm(direction), rel=1e-6
            )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", WEIGHTINGS)
def test_permutation_of_tasks_permutes_weights(name, size):
    order = np.random.default_rng(1).permutation(size)
    for jacobian in jacobians(size, 8, seed=1):
        if np.linalg.matrix_rank(jacobian / np.linalg.norm(jacobian, axis=1, keepdims=True)) < size:
            continue  # with linearly dependent gradients, several weights give the same direction
        weights, permuted = weights_of(name, jacobian), weights_of(name, jacobian[order])
        norms = np.linalg.norm(jacobian, axis=1)
        scale = np.abs(weights * norms).max()
        np.testing.assert_allclose((permuted * norms[order]) / scale, (weights * norms)[order] / scale, atol=1e-5)


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize(
    ("name", "power"), [*((name, 1) for name in ("MGDA", "UPGrad", "DualProj", "CAGrad", "AlignedMTL")), ("NashMTL", 0)]
)
def test_scaling_all_gradients(name, power, size):
    """Directions scale with the gradients, except those of Nash-MTL."""
    for jacobian in jacobians(size, 6, seed=2):
        before = jacobian.T @ weights_of(name, jacobian)
        after = (8 * jacobian).T @ weights_of(name, 8 * jacobian)
        assert np.linalg.norm(after - 8**power * before) <= 1e-6 * 8**power * np.abs(jacobian).max()


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
def test_fair_grad_is_fair_at_every_scale(alpha):
    method = functools.partial(mtl.balancing.FairGrad, alpha)
    for jacobian in jacobians(4, 10, seed=3):
        weights = weights_of(method, jacobian)
        gains = jacobian @ jacobian.T @ weights
        if length_and_cosines(jacobian, weights)[0] > 1e-5:
            np.testing.assert_allclose(gains * weights ** (1 / alpha), np.ones(4), rtol=1e-5)
            np.testing.assert_allclose(
                weights_of(method, 3 * jacobian), weights * 9 ** (-alpha / (1 + alpha)), rtol=1e-5
            )


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
def test_preferences_of_fair_gradients(alpha):
    """The weights solve G w = (w / p)^(-1/alpha), for p of the mean 1."""
    preference = np.array([4.0, 1.0, 0.5, 2.5])
    method = functools.partial(mtl.balancing.FairGrad, alpha, preference=list(preference / 7))
    for jacobian in jacobians(4, 10, seed=3):
        weights = weights_of(method, jacobian)
        gains = jacobian @ jacobian.T @ weights
        if length_and_cosines(jacobian, weights)[0] > 1e-5:
            np.testing.assert_allclose(gains * (weights / (preference / 2)) ** (1 / alpha), np.ones(4), rtol=1e-5)
            if alpha == 1:
                nash = functools.partial(mtl.balancing.NashMTL, None, preference=list(preference))
                np.testing.assert_allclose(weights_of(nash, jacobian), weights, rtol=1e-6)


def test_a_preference_of_2_counts_a_task_twice():
    """Two equal gradients are one player of twice the bargaining power."""
    for jacobian in jacobians(3, 6, seed=5):
        twice = np.concatenate([jacobian[:1], jacobian])
        weights = weights_of(functools.partial(mtl.balancing.NashMTL, None), twice)
        preferred = functools.partial(mtl.balancing.NashMTL, None, preference=[2, 1, 1])
        direction = jacobian.T @ weights_of(preferred, jacobian)
        if np.linalg.norm(direction) > 1e-5:
            scaled = twice.T @ weights * np.sqrt(3 / 4)
            np.testing.assert_allclose(direction, scaled, rtol=1e-4, atol=1e-6 * np.abs(jacobian).max())


@pytest.mark.parametrize("name", ["NashMTL", "IMTLGrad"])
def test_scaling_one_gradient_does_not_turn_the_direction(name):
    for jacobian in jacobians(4, 12, seed=4):
        if np.linalg.matrix_rank(jacobian / np.linalg.norm(jacobian, axis=1, keepdims=True)) == 4:
            factors = np.array([[1.0], [100.0], [0.01], [3.0]])
            plain = jacobian.T @ weights_of(name, jacobian)
            scaled = (factors * jacobian).T @ weights_of(name, factors * jacobian)
            cosine = plain @ scaled / np.linalg.norm(plain) / np.linalg.norm(scaled)
            assert abs(cosine) == pytest.approx(1, abs=1e-6)


def test_upgrad_is_linear_in_each_gradients_scale():
    for jacobian in jacobians(4, 10, seed=5):
        directions = []
        one, other = np.array([[1.0], [2], [3], [4]]), np.array([[5.0], [0.5], [1], [0.1]])
        for factors in (one, other, one + other):
            scaled = factors * jacobian
            directions.append(scaled.T @ weights_of("UPGrad", scaled))
        error = np.linalg.norm(directions[0] + directions[1] - directions[2])
        assert error <= 1e-6 * np.abs(jacobian).max()


@pytest.mark.parametrize("scale", ["min", "median", "rmse"])
def test_aligned_mtl_in_float32(scale):
    """Gradients of very different lengths are not mistaken for linearly dependent ones."""
    method = functools.partial(mtl.balancing.AlignedMTL, scale)
    for product in ([[1.0, 0.0], [0.0, 1e-8]], [[9e6, 100.0], [100.0, 1.0]], [[1e4, 0.1], [0.1, 4e-4]]):
        jacobian = np.linalg.cholesky(product)
        exact = weights_of(method, jacobian)
        np.testing.assert_allclose(weights_of(method, jacobian, "float32"), exact, rtol=1e-4)
        values, vectors = np.linalg.eigh(np.array(product))
        sigma = {"min": values[0], "median": values.mean(), "rmse": values.mean()}[scale]
        np.testing.assert_allclose(
            exact, np.sqrt(sigma) * vectors @ np.diag(values**-0.5) @ vectors.T @ [0.5, 0.5], rtol=1e-6
        )


@pytest.mark.parametrize(
    "make",
    [mtl.balancing.ConFIG, mtl.balancing.TrimmedMean, lambda: mtl.balancing.DBMTL(beta=0), mtl.balancing.ExcessMTL],
)
def test_permutation_of_tasks_does_not_change_directions(make):
    jacobian = np.random.default_rng(0).normal(size=(4, 6))
    np.testing.assert_allclose(make()(jacobian[[2, 0, 3, 1]]), make()(jacobian), rtol=1e-5)


def test_permutation_of_tasks_permutes_krum():
    jacobian, order = np.random.default_rng(0).normal(size=(5, 6)), [2, 0, 4, 1, 3]
    weights = mtl.balancing.Krum(selected=2)(jacobian @ jacobian.T).numpy()
    jacobian = jacobian[order]
    np.testing.assert_array_equal(mtl.balancing.Krum(selected=2)(jacobian @ jacobian.T), weights[order])


def test_cagrad_stays_within_its_radius_of_the_mean_gradient():
    """Therefore the direction is zero where the mean is zero, and not at every stationary point."""
    for jacobian in jacobians(4, 10, seed=7):
        mean = jacobian.mean(0)
        direction = jacobian.T @ weights_of(lambda: mtl.balancing.CAGrad(0.4, 0), jacobian)
        assert np.linalg.norm(direction - mean) == pytest.approx(0.4 * np.linalg.norm(mean), rel=1e-6)
    opposed = np.array([[1.0, 2.0], [-1.0, -2.0]])
    assert np.abs(opposed.T @ weights_of("CAGrad", opposed)).max() < 1e-12


STATIONARY = {
    "opposed": [[1.0, 2.0, 0.0], [-1.0, -2.0, 0.0]],
    "opposed, of different lengths": [[1e-3, 2e-3, 0.0], [-50.0, -100.0, 0.0]],
    "triangle": [[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]],
    "opposed pairs": [[1.0, 0, 0], [-3.0, 0, 0], [0, 2.0, 0], [0, -1.0, 0]],
}


@pytest.mark.parametrize("case", STATIONARY)
@pytest.mark.parametrize("name", [*NEVER_CONFLICT, "IMTLGrad"])
def test_a_stationary_point_gives_a_zero_direction(name, case):
    jacobian = np.array(STATIONARY[case])
    direction = jacobian.T @ weights_of(name, jacobian)
    assert np.linalg.norm(direction) <= 1e-5 * np.abs(jacobian).max()


@pytest.mark.parametrize("case", STATIONARY)
def test_config_is_zero_if_equal_cosines_are_impossible(case):
    jacobian = np.array(STATIONARY[case])
    assert np.abs(mtl.balancing.ConFIG()(jacobian)).max() <= 1e-6 * np.abs(jacobian).max()


EDGE_CASES = {
    "one task": [[3.0, 4.0]],
    "all zero": [[0.0, 0.0], [0.0, 0.0]],
    "one task of zeros": [[0.0]],
    "a zero row": [[3.0, 4.0], [0.0, 0.0], [-4.0, 1.0]],
    "duplicates": [[3.0, 4.0], [3.0, 4.0], [-4.0, 1.0]],
    "all the same": [[3.0, 4.0], [3.0, 4.0], [3.0, 4.0]],
    "tiny": [[3e-15, 4e-15], [-4e-15, 1e-15]],
    "huge": [[3e15, 4e15], [-4e15, 1e15]],
}
WEIGHTING_CLASSES = [
    mtl.balancing.PCGrad,
    mtl.balancing.GradVac,
    mtl.balancing.GradNorm,
    mtl.balancing.IMTL,
    mtl.balancing.SDMGrad,
    mtl.balancing.MoDo,
    lambda: mtl.balancing.EMA(mtl.balancing.MGDA("l2")),
    lambda: mtl.balancing.MGDA("loss"),
    lambda: mtl.balancing.MGDA("loss+"),
    lambda: mtl.balancing.AlignedMTL("median"),
    lambda: mtl.balancing.AlignedMTL("rmse"),
    lambda: mtl.balancing.Every(mtl.balancing.UPGrad(), 2),
    *WEIGHTINGS.values(),
]
AGGREGATORS = [
    mtl.balancing.GradDrop,
    mtl.balancing.ConFIG,
    mtl.balancing.MoCo,
    mtl.balancing.DBMTL,
    mtl.balancing.ExcessMTL,
    lambda: mtl.balancing.TrimmedMean(0),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", EDGE_CASES)
def test_edge_cases_give_finite_results(case, dtype):
    jacobian = np.array(EDGE_CASES[case], dtype)
    losses = np.ones(len(jacobian), dtype)
    for make in WEIGHTING_CLASSES:
        method = make()
        for _ in range(2):
            weights = method(jacobian @ jacobian.T, losses=losses).numpy()
        assert np.isfinite(weights).all(), method.name
        assert np.isfinite(jacobian.T @ weights).all(), method.name
        if case == "one task" and type(method) not in (mtl.balancing.NashMTL, mtl.balancing.FairGrad):
            assert weights[0] > 0, method.name
    for make in AGGREGATORS:
        method = make()
        for _ in range(2):
            direction = method(jacobian, losses=losses).numpy()
        assert np.isfinite(direction).all(), method.name


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_gradients_that_are_not_finite_give_nan(bad):
    """They give NaN, and no error from a matrix decomposition."""
    product = np.array([[1.0, bad], [bad, 1.0]], "float32")
    for name in WEIGHTINGS:
        assert np.isnan(weights_of_product(name, product)).all(), name
    assert np.isnan(mtl.balancing.ConFIG()(np.array([[1.0, bad], [1.0, 2.0]]))).all()


def weights_of_product(name, product):
    return solver(name, len(product), "float32")(product).numpy()


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_task_without_a_gradient_does_not_change_the_direction(name):
    """Except for the factor 1/T of methods that take a mean, and for the sigma of Aligned-MTL."""
    for jacobian in jacobians(3, 6, seed=6):
        with_zero = np.insert(jacobian, 1, 0, axis=0)
        expected, direction = jacobian.T @ weights_of(name, jacobian), with_zero.T @ weights_of(name, with_zero)
        factor = 3 / 4 if name in ("UPGrad", "DualProj", "CAGrad", "AlignedMTL") else 1
        error = np.linalg.norm(direction - factor * expected)
        assert error <= 1e-5 * np.abs(jacobian).max()


@pytest.mark.parametrize(
    "method",
    [
        mtl.balancing.RLW(),
        mtl.balancing.ScaleInvariant(),
        mtl.balancing.GLS(),
        mtl.balancing.Uncertainty(),
        mtl.balancing.UncertaintySoft(),
        mtl.balancing.IMTLLoss(),
        mtl.balancing.DWA(),
        mtl.balancing.STCH(),
        mtl.balancing.FAMO(),
    ],
    ids=lambda method: method.name,
)
def test_scalarizers_leave_out_tasks_without_labels(method):
    method.build((3,))
    losses = tf.constant([0.5, 0.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(losses)
        value = method(losses)
    slopes = tape.gradient(value, [losses, *[v.value for v in method.trainable_variables]])
    assert np.isfinite(value)
    assert all(np.isfinite(slope).all() for slope in slopes)
    assert slopes[0].numpy()[[0, 2]].min() > 0
    for slope in slopes[1:]:
        assert slope.numpy()[1] == 0
    without_labels = tf.zeros(3)
    assert np.isfinite(method(without_labels)) or isinstance(method, mtl.balancing.STCH)
    if method.observes_update:
        method.observe(tf.constant([0.4, 0.0, 1.0]))
        assert np.isfinite(method.logits.numpy()).all()
