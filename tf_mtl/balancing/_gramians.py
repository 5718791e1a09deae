"""The cosines, norms and eigenvalues of a Gramian, in the graph and in float64.

Every function takes a symmetric Gramian [T, T] of any float dtype, or its factors.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf


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


def _finite_or_identity(gramian: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return a Gramian in float64 and 1; or the identity and NaN for a Gramian that is not finite, as LAPACK fails."""
    gramian = tf.cast(gramian, tf.float64)
    finite = tf.reduce_all(tf.math.is_finite(gramian))
    identity = tf.eye(gramian.shape[0], dtype=tf.float64)
    return tf.where(finite, gramian, identity), tf.where(finite, tf.constant(1.0, tf.float64), np.nan)
