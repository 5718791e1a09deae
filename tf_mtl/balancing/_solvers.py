"""Solvers for the small convex problems of the weightings, in the graph and in float64.

They work on the Gramian with a unit diagonal, so that the accuracy does not depend on how different the gradients'
norms are: with D the diagonal matrix of the norms, C = D^-1 G D^-1 contains the cosines, and the unknown is y = D w.
Every function takes a symmetric Gramian [T, T] of any float dtype and returns float64. Tasks whose gradient is zero are
left out: their weight is 0, or its lower bound if the problem has one.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

MAX_STEPS = 60  # the solvers stop when they have converged, after about 5 to 15 steps

# Takes u [N, T], and returns the gradients [N, T] and Hessians [N, T, T] of N functions.
Objective = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


class UnitGramian(NamedTuple):
    """The factors of a Gramian G = D C D.

    Attributes:
        cosines: C, [T, T], plus `ridge` on the diagonal. Without it, C may be indefinite and the problems unbounded.
        norms: The gradients' norms [T], the diagonal of D; 1 for gradients that are zero.
        present: 1 for gradients other than zero, 0 for the others, [T].
        ridge: T eps, where eps is the precision of G's dtype.
        valid: 1 if G is finite; otherwise NaN, and the other attributes are those of the identity matrix.
    """

    cosines: tf.Tensor
    norms: tf.Tensor
    present: tf.Tensor
    ridge: float
    valid: tf.Tensor


class Eigen(NamedTuple):
    """The eigendecomposition of a Gramian.

    Attributes:
        values: The eigenvalues [T], in increasing order.
        vectors: The eigenvectors, as the columns of a matrix [T, T].
        is_significant: Which eigenvalues are not rounding errors, [T], bool.
    """

    values: tf.Tensor
    vectors: tf.Tensor
    is_significant: tf.Tensor


def unit_diagonal(gramian: tf.Tensor) -> UnitGramian:
    """Return the factors of a Gramian [T, T]."""
    ridge = gramian.shape[0] * float(np.finfo(gramian.dtype.as_numpy_dtype).eps)
    gramian, valid = _finite_or_identity(gramian)
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
    largest = tf.reduce_max(tf.abs(linear), -1, keepdims=True)
    linear += (1 - unit.present) * tf.where(largest > 0, largest, tf.ones_like(largest))
    hessian = tf.tile(unit.cosines[None], [tf.shape(lower)[0], 1, 1])

    def objective(u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.linalg.matvec(hessian, u) + linear, hessian

    return unit.valid * (lower + _minimum_over_nonnegative(objective, linear) / unit.norms)


def minimum_norm(gramian: tf.Tensor) -> tf.Tensor:
    r"""Solve $\arg\min_w w^\top G w$ over the simplex.

    The minimum of $\|J^\top w\|^2 + (1^\top w - 1)^2$ over w >= 0 has the same direction, without a constraint on the
    sum.
    """
    unit = unit_diagonal(gramian)
    scale = _inverse_norms(unit)
    hessian = (unit.cosines + scale[:, None] * scale)[None]
    linear = (1 - unit.present - scale)[None]

    def objective(u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.linalg.matvec(hessian, u) + linear, hessian

    return _on_simplex(_minimum_over_nonnegative(objective, linear)[0], unit)


def minimum_of_norm_and_line(gramian: tf.Tensor, direction: tf.Tensor, radius: float) -> tf.Tensor:
    r"""Solve CAGrad's dual, $\arg\min_w w^\top G b + c \sqrt{b^\top G b} \sqrt{w^\top G w}$ over the simplex.

    The function is homogeneous. Therefore the sum of w need not be constrained: a quadratic term
    $\kappa/2 (1^\top w - 1)^2$ with kappa above the minimum keeps it near 1, and does not change the direction of the
    solution.

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

    def objective(u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        product = tf.linalg.matvec(unit.cosines, u)
        norm = tf.sqrt(tf.reduce_sum(u * product, -1, keepdims=True) + 1e-30)
        pull = strength * (tf.reduce_sum(scale * u, -1, keepdims=True) - 1)
        slope = linear + radius * product / norm + pull * scale
        direction_cosines = product / norm
        outer = direction_cosines[:, :, None] * direction_cosines[:, None, :]
        curvature = radius * (unit.cosines - outer) / norm[:, :, None]
        return slope, curvature + strength * scale[:, None] * scale

    return _on_simplex(_minimum_over_nonnegative(objective, linear[None])[0], unit)


def proportional_fairness(gramian: tf.Tensor, alpha: float) -> tf.Tensor:
    r"""Solve $G a = a^{-1/\alpha}$ for a > 0: Nash bargaining for alpha = 1, alpha-fair gradients in general.

    Newton's method on $\frac12 y^\top C y - \sum_t s_t^2 \phi(y_t / s_t)$, $\phi'(x) = x^{-1/\alpha}$, with
    $a = (y / s) D^{-2\alpha/(1+\alpha)}$, where $s = D^{(1-\alpha)/(1+\alpha)}$ makes y = s the solution for orthogonal
    gradients. After each step y is scaled to the length that minimizes the function. At a stationary point there is
    no solution; a is large, and $J^\top a$ is close to 0.
    """
    unit = unit_diagonal(gramian)
    power = 1.0 / alpha
    scale = unit.norms ** ((1 - alpha) / (1 + alpha))

    def marginal(y: tf.Tensor) -> tf.Tensor:
        return scale * (y / scale) ** -power

    def rescaled(y: tf.Tensor) -> tf.Tensor:
        square = tf.reduce_sum(y * tf.linalg.matvec(unit.cosines, y))
        return y * (tf.reduce_sum(y * marginal(y)) / square) ** (1 / (1 + power))

    def error(y: tf.Tensor) -> tf.Tensor:
        return tf.linalg.matvec(unit.cosines, y) - marginal(y)

    def is_unsolved(step: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return (step < MAX_STEPS) & (tf.reduce_max(tf.abs(error(y) / marginal(y))) > 1e-10)

    def newton_step(step: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        hessian = unit.cosines + tf.linalg.diag(power * marginal(y) / y)
        change = -tf.linalg.solve(hessian, error(y)[:, None])[:, 0]
        return step + 1, rescaled(y + _step_length(y, change, 0.9) * change)

    _, y = tf.while_loop(is_unsolved, newton_step, (0, rescaled(scale)))
    return unit.valid * unit.present * y / scale * unit.norms ** (-2 * alpha / (1 + alpha))


def eigen(gramian: tf.Tensor) -> Eigen:
    """Return the eigendecomposition of a Gramian.

    The rank is determined from the cosines, in which rounding errors do not depend on the gradients' norms.
    """
    unit = unit_diagonal(gramian)
    cosine_values, _ = _decomposition(unit.cosines * unit.present * unit.present[:, None])
    rank = tf.reduce_sum(tf.cast(cosine_values > 4 * unit.ridge * cosine_values[-1], tf.int32))
    finite, valid = _finite_or_identity(gramian)
    values, vectors = _decomposition(finite)
    smallest = values[-1] * values.shape[0] * np.finfo("float64").eps
    is_significant = (tf.range(values.shape[0]) >= values.shape[0] - rank) & (values > smallest)
    return Eigen(valid * values, vectors, is_significant)


def equal_cosines(unit: UnitGramian, cosines: tf.Tensor) -> tf.Tensor:
    """Return the weights [T] of the unit gradients for which their sum has cosines with them proportional to `cosines`.

    The weights are C^+ times `cosines`; for linearly dependent gradients, the least-squares solution.
    """
    values, vectors = _decomposition(unit.cosines)
    is_significant = values > 4 * unit.ridge * values[-1]
    coordinates = tf.linalg.matvec(vectors, cosines, transpose_a=True)
    is_significant &= tf.abs(coordinates) > 4 * unit.ridge * tf.norm(cosines)
    coordinates = tf.where(is_significant, coordinates / tf.where(is_significant, values, 1), 0)
    return unit.valid * unit.present * tf.linalg.matvec(vectors, coordinates)


def _decomposition(matrix: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the eigenvalues in increasing order, and the eigenvectors, of a symmetric matrix.

    XLA's have errors of 1e-6 of the largest eigenvalue, so they are refined with Ogita & Aishima 2018: each iteration
    squares the error of well-separated eigenvalues.
    """
    _, vectors = tf.linalg.eigh(matrix)
    for _ in range(3):
        excess = tf.eye(matrix.shape[0], dtype=matrix.dtype) - tf.matmul(vectors, vectors, transpose_a=True)
        rotated = tf.matmul(vectors, tf.matmul(matrix, vectors), transpose_a=True)
        values = tf.linalg.diag_part(rotated) / (1 - tf.linalg.diag_part(excess))
        gaps, residual = values - values[:, None], rotated + values * excess
        is_separated = tf.abs(gaps) > 4 * tf.abs(residual)
        correction = tf.where(is_separated, residual / tf.where(is_separated, gaps, tf.ones_like(gaps)), excess / 2)
        vectors += tf.matmul(vectors, correction)
    order = tf.argsort(values)
    return tf.gather(values, order), tf.gather(vectors, order, axis=1)


def project_on_simplex(point: tf.Tensor) -> tf.Tensor:
    """Return the nearest point [T] with entries >= 0 that sum to 1 (Duchi et al. 2008)."""
    point -= tf.reduce_max(point)
    sorted_point = tf.sort(point, direction="DESCENDING")
    shifts = (tf.cumsum(sorted_point) - 1) / tf.range(1, tf.shape(point)[0] + 1, dtype=point.dtype)
    return tf.nn.relu(point - tf.reduce_max(shifts))


def move_on_simplex(
    weights: tf.Tensor, present: tf.Tensor, step: Callable[[tf.Tensor], tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Move the weights of the present tasks on their simplex; the weights of the other tasks do not change.

    Args:
        weights: The weights of all tasks, which sum to 1, [T].
        present: Which tasks have a gradient, [T], bool.
        step: Maps the weights [T], in which those of absent tasks are 0, to new ones, which are then projected.

    Returns:
        The weights for this step, of which those of the present tasks sum to 1, and the weights to keep, of which all
        sum to 1.
    """
    mask = tf.cast(present, weights.dtype)
    absent_weight = tf.reduce_sum((1 - mask) * weights)
    point = mask * (weights + tf.math.divide_no_nan(absent_weight, tf.reduce_sum(mask)))
    point = project_on_simplex(tf.where(present, step(point), -1e30))
    point = tf.where(tf.reduce_any(present), point, weights)
    return tf.where(present, point, weights), tf.where(present, (1 - absent_weight) * point, weights)


def _finite_or_identity(gramian: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return a Gramian in float64 and 1; or the identity and NaN for a Gramian that is not finite, as LAPACK fails."""
    gramian = tf.cast(gramian, tf.float64)
    finite = tf.reduce_all(tf.math.is_finite(gramian))
    identity = tf.eye(gramian.shape[0], dtype=tf.float64)
    return tf.where(finite, gramian, identity), tf.where(finite, tf.constant(1.0, tf.float64), np.nan)


def _inverse_norms(unit: UnitGramian) -> tf.Tensor:
    """Return the inverse norms [T] divided by the largest of them, so that they are in [0, 1]."""
    inverse = unit.present / unit.norms
    return tf.math.divide_no_nan(inverse, tf.reduce_max(inverse))


def _on_simplex(y: tf.Tensor, unit: UnitGramian) -> tf.Tensor:
    """Return the weights w = D^-1 y, [T], scaled to the sum 1."""
    weights = unit.valid * unit.present * y / unit.norms
    return tf.math.divide_no_nan(weights, tf.reduce_sum(weights))


def _minimum_over_nonnegative(objective: Objective, linear: tf.Tensor) -> tf.Tensor:
    """Return the minima [N, T] of N convex functions over u >= 0, by a primal-dual interior-point method.

    Args:
        objective: The functions' gradients and Hessians.
        linear: The gradients at u = 0, [N, T], which determine the scale of u.
    """
    scale = tf.reduce_max(tf.abs(linear), -1, keepdims=True)
    scale = tf.where(scale > 0, scale, tf.ones_like(scale))
    start = tf.ones_like(linear) * scale

    def gap(u: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(u * z, -1, keepdims=True)

    def is_unsolved(step: tf.Tensor, u: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
        return (step < MAX_STEPS) & tf.reduce_any(gap(u, z) > 1e-13 * scale**2)

    def newton_step(step: tf.Tensor, u: tf.Tensor, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        slope, hessian = objective(u)
        ratio = z / u
        solution = tf.linalg.solve(hessian + tf.linalg.diag(ratio), tf.stack([-slope, 1 / u], -1))
        primal, centering = solution[..., 0], solution[..., 1]
        dual = -z - ratio * primal
        length = tf.minimum(_step_length(u, primal, 1.0), _step_length(z, dual, 1.0))
        barrier = (1 - length) ** 3 * gap(u, z)
        primal += barrier * centering
        dual += barrier * (1 / u - ratio * centering)
        length = tf.minimum(_step_length(u, primal, 0.999), _step_length(z, dual, 0.999))
        return step + 1, u + length * primal, z + length * dual

    return tf.while_loop(is_unsolved, newton_step, (0, start, start))[1]


def _step_length(point: tf.Tensor, change: tf.Tensor, fraction: float) -> tf.Tensor:
    """Return the longest step, at most 1, that covers at most this fraction of the distance to where an entry is 0."""
    steepest = tf.reduce_max(-change / point, -1, keepdims=True)
    return fraction / tf.maximum(steepest, fraction)
