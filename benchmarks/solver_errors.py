"""How far weights [T] are from what a method defines, in float64 from the Jacobian [T, P]; 0 stands for exact.

The Jacobian's rows must be linearly independent. The references work on the Jacobian instead of the Gramian, and use
SciPy's active-set method for non-negative least squares.
"""

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import brentq, nnls


def conflict(jacobian: np.ndarray, weights: np.ndarray) -> float:
    """Return how far the cosine between the direction and the worst task's gradient is below 0."""
    direction = jacobian.T @ weights
    cosines = jacobian @ direction / _norms(jacobian) / np.linalg.norm(direction)
    return np.maximum(0.0, -cosines.min())


def excess_norm(jacobian: np.ndarray, weights: np.ndarray) -> float:
    """Return MGDA's error: how far the norm of the convex combination is above the smallest one, relative to it."""
    norms = _norms(jacobian)
    system = np.vstack([(jacobian / norms[:, None]).T, norms.min() / norms])
    best = nnls(system, np.append(np.zeros(jacobian.shape[1]), 1.0))[0] / norms
    weights = np.maximum(weights, 0)
    return np.linalg.norm(jacobian.T @ weights) / weights.sum() / (np.linalg.norm(jacobian.T @ best) / best.sum()) - 1


def unfairness(jacobian: np.ndarray, weights: np.ndarray, alpha: float) -> float:
    """Return max |a^(1/alpha) (G a) - 1|; alpha 1 is Nash bargaining."""
    gains = jacobian @ (jacobian.T @ weights)
    return np.abs(np.maximum(weights, 0) ** (1 / alpha) * gains - 1).max()


def cagrad(jacobian: np.ndarray, weights: np.ndarray, c: float) -> float:
    """Return what the worst task gains less than it could, over the norms of its gradient and of the direction.

    If the direction is farther from the mean gradient than it may be, its relative excess counts, where that is larger.
    """
    mean, direction = jacobian.mean(0), jacobian.T @ weights
    radius, gains = c * np.linalg.norm(mean), jacobian @ direction
    worst = gains.argmin()
    missing = (_best_gain(jacobian, mean, radius) - gains[worst]) / np.linalg.norm(direction)
    return np.maximum(missing / _norms(jacobian)[worst], np.linalg.norm(direction - mean) / radius - 1)


def dual_proj(jacobian: np.ndarray, weights: np.ndarray) -> float:
    """Return the distance to DualProj's direction."""
    return _distance(jacobian, weights, _above(jacobian, np.full(len(jacobian), 1 / len(jacobian))))


def upgrad(jacobian: np.ndarray, weights: np.ndarray) -> float:
    """Return the distance to UPGrad's direction."""
    return _distance(jacobian, weights, sum(_above(jacobian, row) for row in np.eye(len(jacobian)) / len(jacobian)))


def aligned_mtl(jacobian: np.ndarray, weights: np.ndarray) -> float:
    """Return the distance to AlignedMTL's direction, with the smallest eigenvalue."""
    left, values, _ = np.linalg.svd(jacobian, full_matrices=False)
    return _distance(jacobian, weights, values[-1] * left @ (left.mean(0) / values))


def imtl_grad(jacobian: np.ndarray, weights: np.ndarray) -> float:
    """Return the distance to IMTL-G's direction."""
    norms = _norms(jacobian)
    factor = np.linalg.qr((jacobian / norms[:, None]).T, mode="r")
    exact = solve_triangular(factor, solve_triangular(factor, np.ones(len(norms)), trans="T")) / norms
    return _distance(jacobian, weights, exact / exact.sum())


def _above(jacobian, lower):
    """argmin of |J^T v| over v >= lower."""
    norms, start = _norms(jacobian), jacobian.T @ lower
    size = np.linalg.norm(start)
    return lower + nnls((jacobian / norms[:, None]).T, -start / size)[0] * size / norms


def _best_gain(jacobian, mean, radius):
    """The largest s for which the shortest r with J (mean + r) >= s is no longer than the radius."""
    norms, gains = _norms(jacobian), jacobian @ mean
    unit = (jacobian / norms[:, None]).T

    def excess(gain):
        bounds = (gain - gains) / norms / radius
        multipliers, _ = nnls(np.vstack([unit, bounds]), np.append(np.zeros(len(mean)), 1.0))
        return np.linalg.norm(unit @ multipliers) / (1 - bounds @ multipliers) - 1

    low, high = gains.min(), (gains + radius * norms).min()
    return brentq(excess, low, high + 0.01 * (high - low), xtol=1e-15 * (high - low))


def _distance(jacobian, weights, exact):
    direction = jacobian.T @ exact
    return np.linalg.norm(jacobian.T @ weights - direction) / np.linalg.norm(direction)


def _norms(jacobian):
    return np.linalg.norm(jacobian, axis=1)
