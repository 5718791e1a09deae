"""The solvers compared with SciPy, in the graph and under XLA, for up to 40 tasks."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import nnls

from tf_mtl.balancing import _gramians, _simplex, _solvers

SIZES = (1, 2, 3, 10, 40)


@functools.cache
def compiled(name, size, jit):
    functions = {
        "above": lambda g: _solvers.minimum_above(g, np.eye(size) / size),
        "norm": _solvers.minimum_norm,
        "line": lambda g: _solvers.minimum_of_norm_and_line(g, tf.fill([size], tf.constant(1 / size, g.dtype)), 0.4),
        "fair": lambda g: _solvers.proportional_fairness(g, 1.0, np.ones(g.shape[0])),
    }
    signature = [tf.TensorSpec((size, size), tf.float64)]
    return tf.function(functions[name], input_signature=signature, jit_compile=jit, autograph=False)


def jacobians(size, count=6):
    rng = np.random.default_rng(size)
    for number in range(count):
        spread = number % 3
        yield rng.normal(size=(size, size + 5)) * np.exp(spread * rng.normal(size=(size, 1)))


def solve(name, jacobian, jit=False):
    return compiled(name, len(jacobian), jit)(jacobian @ jacobian.T).numpy()


def least_squares(matrix, target):
    """Return the non-negative least squares solution, computed on columns of length 1."""
    lengths = np.linalg.norm(matrix, axis=0)
    return nnls(matrix / lengths, target, maxiter=10_000)[0] / lengths


@pytest.mark.parametrize("size", SIZES)
def test_minimum_above(size):
    for jacobian in jacobians(size):
        weights = solve("above", jacobian)
        lower = np.eye(size) / size
        assert (weights >= lower).all()
        for v, low in zip(weights, lower, strict=True):
            exact = low + least_squares(jacobian.T, -jacobian.T @ low)
            assert np.linalg.norm(jacobian.T @ v) == pytest.approx(np.linalg.norm(jacobian.T @ exact), rel=1e-6)
            assert np.linalg.norm(jacobian.T @ (v - exact)) <= 1e-5 * np.linalg.norm(jacobian.T @ low)


@pytest.mark.parametrize("size", SIZES)
def test_minimum_norm(size):
    for jacobian in jacobians(size):
        weights = solve("norm", jacobian)
        assert weights.sum() == pytest.approx(1)
        assert weights.min() >= 0
        scale = np.linalg.norm(jacobian, axis=1).min()
        exact = least_squares(np.vstack([jacobian.T, np.full(size, scale)]), np.append(np.zeros(size + 5), scale))
        exact /= exact.sum()
        assert np.linalg.norm(jacobian.T @ weights) == pytest.approx(np.linalg.norm(jacobian.T @ exact), rel=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_minimum_of_norm_and_line_is_optimal(size):
    """The Karush-Kuhn-Tucker conditions: to first order, no vertex of the simplex is lower than the solution."""
    for jacobian in jacobians(size):
        w = solve("line", jacobian)
        assert w.sum() == pytest.approx(1)
        assert w.min() >= 0
        mean = jacobian.mean(0)
        combined = jacobian.T @ w
        radius = 0.4 * np.linalg.norm(mean)
        slope = jacobian @ (mean + radius * combined / np.linalg.norm(combined))
        lengths = np.linalg.norm(jacobian, axis=1) * np.linalg.norm(mean)
        assert ((slope - slope @ w) / lengths).min() >= -1e-6


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("size", SIZES)
def test_proportional_fairness(size, alpha):
    for importance in (np.ones(size), np.geomspace(0.1, 10, size)):
        solver = tf.function(lambda g: _solvers.proportional_fairness(g, alpha, importance), autograph=False)  # noqa: B023
        for jacobian in jacobians(size):
            product = jacobian @ jacobian.T
            a = solver(product).numpy()
            assert a.min() > 0
            np.testing.assert_allclose((a / importance) ** (1 / alpha) * (product @ a), np.ones(size), rtol=1e-6)


@pytest.mark.parametrize("name", ["above", "norm", "line", "fair"])
def test_xla_gives_the_same_weights(name):
    for jacobian in jacobians(3):
        plain, xla = solve(name, jacobian), solve(name, jacobian, jit=True)
        np.testing.assert_allclose(xla, plain, rtol=1e-6, atol=1e-9 * np.abs(plain).max())


@pytest.mark.parametrize("jit", [False, True])
def test_eigenvectors_are_exact_with_and_without_xla(jit):
    decompose = tf.function(_gramians.eigen, jit_compile=jit, autograph=False)
    for jacobian in jacobians(10, 6):
        product = jacobian @ jacobian.T
        values, vectors, is_significant = decompose(tf.constant(product))
        exact = np.linalg.eigvalsh(product)
        np.testing.assert_allclose(values, exact, rtol=1e-7)
        np.testing.assert_allclose(vectors @ np.diag(values) @ np.transpose(vectors), product, atol=1e-9 * exact[-1])
        np.testing.assert_allclose(np.transpose(vectors) @ vectors, np.eye(10), atol=1e-9)
        assert is_significant.numpy().all()


def test_the_graph_has_no_python_functions():
    for name in ("above", "norm", "line", "fair"):
        graph = compiled(name, 3, False).get_concrete_function().graph
        kinds = {op.type for op in graph.get_operations()}
        for function in graph._functions.values():
            kinds |= {node.op for node in function.cached_definition.node_def}
        assert "Cholesky" in kinds or "MatrixSolve" in kinds
        assert not {kind for kind in kinds if "PyFunc" in kind}


@pytest.mark.parametrize("size", [1, 3, 8])
def test_projection_on_the_simplex(size):
    """Its defining property: point - projection is the same where the projection is > 0, and not larger elsewhere."""
    rng = np.random.default_rng(size)
    for _ in range(20):
        point = rng.normal(size=size) * 3
        projection = _simplex.project_on_simplex(tf.constant(point)).numpy()
        assert projection.sum() == pytest.approx(1)
        assert projection.min() >= 0
        shift = (point - projection)[projection > 0]
        np.testing.assert_allclose(shift, shift[0])
        assert ((point - projection)[projection == 0] <= shift[0] + 1e-9).all()


def test_unit_diagonal():
    jacobian = np.array([[3.0, 4.0], [0.0, 0.0], [-5.0, 0.0]])
    unit = _gramians.unit_diagonal(tf.constant(jacobian @ jacobian.T))
    np.testing.assert_allclose(unit.norms, [5, 1, 5])
    np.testing.assert_allclose(unit.present, [1, 0, 1])
    np.testing.assert_allclose(unit.cosines, [[1, 0, -0.6], [0, 1, 0], [-0.6, 0, 1]], atol=1e-12)
