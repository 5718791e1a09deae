"""The small convex problems of the weightings, solved in the graph in float64 on the unit-diagonal Gramian.

With D = diag of the gradients' norms, C = D^-1 G D^-1 holds the cosines, and y = D w; on C the solvers do not see how
far apart the norms are. Every function takes a symmetric Gramian [T, T] of any float type and returns float64. Tasks
whose gradient is zero take no part: their weight is 0, or the lower bound where there is one.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

STEPS = 60  # an upper bound: the solvers stop when they have converged, after about 5 to 15


class UnitGramian(NamedTuple):
    """A Gramian taken apart: G = D C D.

    Attributes:
        cosines: C, [T, T], plus T eps on the diagonal, where eps is the rounding of G's type: without it C may be
            indefinite, and the problems unbounded.
        norms: The gradients' norms [T]; 1 for those that are zero.
        present: Which gradients are not zero, [T], as 0 and 1.
        ridge: T eps.
        valid: 1; NaN if G is not finite, and then the other parts are those of the identity.
    """

    cosines: tf.Tensor
    norms: tf.Tensor
    present: tf.Tensor
    ridge: float
    valid: tf.Tensor


def unit_diagonal(gramian: tf.Tensor) -> UnitGramian:
    """Return the cosines, norms and presence of the gradients of a Gramian [T, T]."""
    ridge = _rounding(gramian)
    gramian, valid = _finite(gramian)
    squares = tf.linalg.diag_part(gramian)
    present = tf.cast(tf.not_equal(squares, 0), tf.float64)
    norms = tf.sqrt(tf.where(squares == 0, tf.ones_like(squares), squares))
    cosines = gramian / norms[:, None] / norms
    cosines = tf.linalg.set_diag(cosines, tf.fill([norms.shape[0]], tf.constant(1 + ridge, tf.float64)))
    return UnitGramian(cosines, norms, present, ridge, valid)


def minimum_above(gramian: tf.Tensor, lower: tf.Tensor) -> tf.Tensor:
    r"""Solve a batch of box problems, $\arg\min_{v \ge l} v^\top G v$.

    Args:
        gramian: G, [T, T].
        lower: l >= 0, [N, T].

    Returns:
        v, [N, T].
    """
    unit = unit_diagonal(gramian)
    lower = tf.cast(lower, tf.float64)
    linear = tf.matmul(lower * unit.norms * unit.present, unit.cosines)
    size = tf.reduce_max(tf.abs(linear), -1, keepdims=True)
    linear += (1 - unit.present) * tf.where(size > 0, size, tf.ones_like(size))
    hessian = tf.tile(unit.cosines[None], [tf.shape(lower)[0], 1, 1])

    def objective(u):
        return tf.linalg.matvec(hessian, u) + linear, hessian

    return unit.valid * (lower + _minimum_over_nonnegative(objective, linear) / unit.norms)


def minimum_norm(gramian: tf.Tensor) -> tf.Tensor:
    r"""Solve $\arg\min_w w^\top G w$ over the simplex.

    For a fixed sum of y the minimum of $\|J^\top w\|^2 + (1^\top w - 1)^2$ has the direction of the solution, and there
    the sum need not be constrained.
    """
    unit = unit_diagonal(gramian)
    scale = _inverse_norms(unit)
    hessian = (unit.cosines + scale[:, None] * scale)[None]
    linear = (1 - unit.present - scale)[None]

    def objective(u):
        return tf.linalg.matvec(hessian, u) + linear, hessian

    return _on_simplex(_minimum_over_nonnegative(objective, linear)[0], unit)


def minimum_of_norm_and_line(gramian: tf.Tensor, direction: tf.Tensor, radius: float) -> tf.Tensor:
    r"""Solve CAGrad's dual, $\arg\min_w w^\top G b + c \sqrt{b^\top G b} \sqrt{w^\top G w}$ over the simplex.

    The function is homogeneous, so that the sum of w may be left free and be held near 1 by a quadratic term
    $\kappa/2 (1^\top w - 1)^2$ with kappa above the minimum, which does not change the direction of the solution.

    Args:
        gramian: G, [T, T].
        direction: b, [T], the weights of the main direction.
        radius: c, not negative.
    """
    unit = unit_diagonal(gramian)
    scale = _inverse_norms(unit)
    main = tf.linalg.matvec(unit.cosines, direction * unit.norms * unit.present)
    length = tf.sqrt(tf.reduce_sum(direction * unit.norms * unit.present * main))
    linear = tf.math.divide_no_nan(main, length) * unit.present + (1 - unit.present)
    strength = 2.0 * (1.0 + radius)

    def objective(u):
        product = tf.linalg.matvec(unit.cosines, u)
        norm = tf.sqrt(tf.reduce_sum(u * product, -1, keepdims=True) + 1e-30)
        pull = strength * (tf.reduce_sum(scale * u, -1, keepdims=True) - 1)
        slope = linear + radius * product / norm + pull * scale
        across = product / norm
        curvature = radius * (unit.cosines - across[:, :, None] * across[:, None, :]) / norm[:, :, None]
        return slope, curvature + strength * scale[:, None] * scale

    return _on_simplex(_minimum_over_nonnegative(objective, linear[None])[0], unit)


def proportional_fairness(gramian: tf.Tensor, alpha: float) -> tf.Tensor:
    r"""Solve $G a = a^{-1/\alpha}$ for a > 0: Nash bargaining for alpha = 1, alpha-fair gradients in general.

    Newton's method on $\frac12 y^\top C y - \sum_t s_t^2 \phi(y_t / s_t)$, $\phi'(x) = x^{-1/\alpha}$, with
    $a = (y / s) D^{-2\alpha/(1+\alpha)}$, where $s = D^{(1-\alpha)/(1+\alpha)}$ makes y = s the solution for orthogonal
    gradients. After each step y is scaled to the best length. At a stationary point, where there is no solution, a is
    large and $J^\top a$ about 0.
    """
    unit = unit_diagonal(gramian)
    power = 1.0 / alpha
    scale = unit.norms ** ((1 - alpha) / (1 + alpha))

    def marginal(y):
        return scale * (y / scale) ** -power

    def rescaled(y):
        square = tf.reduce_sum(y * tf.linalg.matvec(unit.cosines, y))
        return y * (tf.reduce_sum(y * marginal(y)) / square) ** (1 / (1 + power))

    def error(y):
        return tf.linalg.matvec(unit.cosines, y) - marginal(y)

    def unsolved(step, y):
        return (step < STEPS) & (tf.reduce_max(tf.abs(error(y) / marginal(y))) > 1e-10)

    def newton(step, y):
        hessian = unit.cosines + tf.linalg.diag(power * marginal(y) / y)
        change = -tf.linalg.solve(hessian, error(y)[:, None])[:, 0]
        return step + 1, rescaled(y + _reach(y, change, 0.9) * change)

    _, y = tf.while_loop(unsolved, newton, (0, rescaled(scale)))
    return unit.valid * unit.present * y / scale * unit.norms ** (-2 * alpha / (1 + alpha))


def eigen(gramian: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return a Gramian's eigenvalues, rising, its eigenvectors, and which values are not rounding, [T].

    The rank is that of the cosines, which rounding touches alike however far apart the norms are.
    """
    unit = unit_diagonal(gramian)
    of_cosines, _ = _decomposed(unit.cosines * unit.present * unit.present[:, None])
    rank = tf.reduce_sum(tf.cast(of_cosines > 4 * unit.ridge * of_cosines[-1], tf.int32))
    finite, valid = _finite(gramian)
    values, vectors = _decomposed(finite)
    smallest = values[-1] * values.shape[0] * np.finfo("float64").eps
    return valid * values, vectors, (tf.range(values.shape[0]) >= values.shape[0] - rank) & (values > smallest)


def equal_cosines(unit: UnitGramian, cosines: tf.Tensor) -> tf.Tensor:
    """Return the weights [T] of the unit gradients whose sum has cosines with them in the proportion of `cosines`.

    C^+ times `cosines`; where the gradients depend on each other this is the nearest such sum.
    """
    values, vectors = _decomposed(unit.cosines)
    kept = values > 4 * unit.ridge * values[-1]
    parts = tf.linalg.matvec(vectors, cosines, transpose_a=True)
    kept &= tf.abs(parts) > 4 * unit.ridge * tf.norm(cosines)
    parts = tf.where(kept, parts / tf.where(kept, values, 1), 0)
    return unit.valid * unit.present * tf.linalg.matvec(vectors, parts)


def _decomposed(matrix):
    """Eigenvalues and eigenvectors of a symmetric matrix, rising; XLA's, which err by 1e-6 of the largest, refined.

    Ogita & Aishima 2018: each round squares the error of what is well separated.
    """
    _, vectors = tf.linalg.eigh(matrix)
    for _ in range(3):
        excess = tf.eye(matrix.shape[0], dtype=matrix.dtype) - tf.matmul(vectors, vectors, transpose_a=True)
        rotated = tf.matmul(vectors, tf.matmul(matrix, vectors), transpose_a=True)
        values = tf.linalg.diag_part(rotated) / (1 - tf.linalg.diag_part(excess))
        gaps, parts = values - values[:, None], rotated + values * excess
        separated = tf.abs(gaps) > 4 * tf.abs(parts)
        turn = tf.where(separated, parts / tf.where(separated, gaps, tf.ones_like(gaps)), excess / 2)
        vectors += tf.matmul(vectors, turn)
    order = tf.argsort(values)
    return tf.gather(values, order), tf.gather(vectors, order, axis=1)


def project_on_simplex(point: tf.Tensor) -> tf.Tensor:
    """Return the nearest point [T] with entries >= 0 that sum to 1 (Duchi et al. 2008)."""
    point -= tf.reduce_max(point)
    ordered = tf.sort(point, direction="DESCENDING")
    shifts = (tf.cumsum(ordered) - 1) / tf.range(1, tf.shape(point)[0] + 1, dtype=point.dtype)
    return tf.nn.relu(point - tf.reduce_max(shifts))


def move_on_simplex(
    weights: tf.Tensor, present: tf.Tensor, moved: Callable[[tf.Tensor], tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Move the weights of the tasks that are present on the simplex of these, and leave the others alone.

    Args:
        weights: A point of the simplex of all tasks, [T].
        present: Which tasks have a gradient, [T], bool.
        moved: Takes a point [T], with zeros for absent tasks, to where it should go, on the simplex or not.

    Returns:
        The weights for this step, which sum to 1 over the present tasks, and the next point of the whole simplex.
    """
    mask = tf.cast(present, weights.dtype)
    elsewhere = tf.reduce_sum((1 - mask) * weights)
    point = mask * (weights + tf.math.divide_no_nan(elsewhere, tf.reduce_sum(mask)))
    point = project_on_simplex(tf.where(present, moved(point), -1e30))
    point = tf.where(tf.reduce_any(present), point, weights)
    return tf.where(present, point, weights), tf.where(present, (1 - elsewhere) * point, weights)


def _finite(gramian):
    """A Gramian in float64, and 1; or, if it is not finite, on which LAPACK would fail, the identity and NaN."""
    gramian = tf.cast(gramian, tf.float64)
    finite = tf.reduce_all(tf.math.is_finite(gramian))
    identity = tf.eye(gramian.shape[0], dtype=tf.float64)
    return tf.where(finite, gramian, identity), tf.where(finite, tf.constant(1.0, tf.float64), np.nan)


def _rounding(matrix):
    """T eps, where eps is the rounding of the matrix' type: what is below it, relative to the largest, is noise."""
    return matrix.shape[0] * float(np.finfo(matrix.dtype.as_numpy_dtype).eps)


def _inverse_norms(unit):
    """1 / norm over the largest of them, so that the entries lie in [0, 1]."""
    inverse = unit.present / unit.norms
    return tf.math.divide_no_nan(inverse, tf.reduce_max(inverse))


def _on_simplex(y, unit):
    weights = unit.valid * unit.present * y / unit.norms
    return tf.math.divide_no_nan(weights, tf.reduce_sum(weights))


def _minimum_over_nonnegative(objective: Callable, linear: tf.Tensor) -> tf.Tensor:
    """Minimise convex functions over u >= 0 by a primal-dual interior-point method.

    Args:
        objective: Takes u [N, T] and returns the gradients [N, T] and Hessians [N, T, T].
        linear: The gradient at u = 0, [N, T], for its size.
    """
    size = tf.reduce_max(tf.abs(linear), -1, keepdims=True)
    size = tf.where(size > 0, size, tf.ones_like(size))
    start = tf.ones_like(linear) * size

    def gap(u, z):
        return tf.reduce_mean(u * z, -1, keepdims=True)

    def unsolved(step, u, z):
        return (step < STEPS) & tf.reduce_any(gap(u, z) > 1e-13 * size**2)

    def improve(step, u, z):
        slope, hessian = objective(u)
        ratio = z / u
        newton = tf.linalg.solve(hessian + tf.linalg.diag(ratio), tf.stack([-slope, 1 / u], -1))
        towards, central = newton[..., 0], newton[..., 1]
        dual = -z - ratio * towards
        reach = tf.minimum(_reach(u, towards, 1.0), _reach(z, dual, 1.0))
        barrier = (1 - reach) ** 3 * gap(u, z)
        towards += barrier * central
        dual += barrier * (1 / u - ratio * central)
        reach = tf.minimum(_reach(u, towards, 0.999), _reach(z, dual, 0.999))
        return step + 1, u + reach * towards, z + reach * dual

    return tf.while_loop(unsolved, improve, (0, start, start))[1]


def _reach(point, change, fraction):
    """The longest step up to 1 that goes at most this fraction of the way to the boundary of the positive numbers."""
    steepest = tf.reduce_max(-change / point, -1, keepdims=True)
    return fraction / tf.maximum(steepest, fraction)
