"""Solvers for the small convex problems of the weightings, in the graph and in float64.

They work on the Gramian with a unit diagonal, so that the accuracy does not depend on how different the gradients'
norms are: with D the diagonal matrix of the norms, C = D^-1 G D^-1 contains the cosines, and the unknown is y = D w.
Every function takes a symmetric Gramian [T, T] of any float dtype and returns float64. Tasks whose gradient is zero are
left out: their weight is 0, or its lower bound if the problem has one.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tf_mtl.balancing._gramians import UnitGramian, unit_diagonal

MAX_STEPS = 60  # the solvers stop when they have converged, after about 5 to 15 steps

# Takes u [N, T], and returns the gradients [N, T] and Hessians [N, T, T] of N functions.
Objective = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


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


def proportional_fairness(gramian: tf.Tensor, alpha: float, importance: np.ndarray) -> tf.Tensor:
    r"""Solve $G a = (a / p)^{-1/\alpha}$ for a > 0: Nash bargaining for alpha = 1, alpha-fair gradients in general.

    Newton's method on $\frac12 y^\top C y - \sum_t p_t^{1/\alpha} s_t^2 \phi(y_t / s_t)$, $\phi'(x) = x^{-1/\alpha}$,
    with $a = (y / s) D^{-2\alpha/(1+\alpha)}$, where $s = D^{(1-\alpha)/(1+\alpha)}$ makes
    $y = s p^{1/(1 + \alpha)}$ the solution for orthogonal gradients. After each step y is scaled to the length that
    minimizes the function. At a stationary point there is no solution; a is large, and $J^\top a$ is close to 0.

    Args:
        gramian: G, [T, T].
        alpha: Fairness.
        importance: p, positive, [T].
    """
    unit = unit_diagonal(gramian)
    power = 1.0 / alpha
    scale = unit.norms ** ((1 - alpha) / (1 + alpha))
    factors = tf.constant(importance**power, tf.float64)

    def marginal(y: tf.Tensor) -> tf.Tensor:
        return factors * scale * (y / scale) ** -power

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

    _, y = tf.while_loop(is_unsolved, newton_step, (0, rescaled(scale * factors ** (1 / (1 + power)))))
    return unit.valid * unit.present * y / scale * unit.norms ** (-2 * alpha / (1 + alpha))


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
