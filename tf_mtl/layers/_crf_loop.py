"""Sums and maxima over the paths of a conditional random field, one position after another.

All functions take emissions [B, S, C], transitions [C, C], start and end scores [C], and a mask [B, S] of which the
valid positions come first. `_crf_tree` has the same functions. Here the work is B S C^2, in S steps.
"""

import tensorflow as tf


def log_partition(
    emissions: tf.Tensor, transitions: tf.Tensor, start: tf.Tensor, end: tf.Tensor, mask: tf.Tensor
) -> tf.Tensor:
    """Return the log-sum-exp of the scores of all paths, [B]."""
    alpha = tf.foldl(_forward_step(transitions), _after_first(emissions, mask), start + emissions[:, 0])
    return tf.reduce_logsumexp(alpha + end, 1)


def best_path(
    emissions: tf.Tensor, transitions: tf.Tensor, start: tf.Tensor, end: tf.Tensor, mask: tf.Tensor
) -> tf.Tensor:
    """Return the tags of a path of the highest score, [B, S]; any where `mask` is False."""
    unchanged = tf.range(tf.shape(emissions)[2])

    def step(state, emission_and_valid):
        alpha, _ = state
        emission, is_valid = emission_and_valid
        scores = alpha[:, :, None] + transitions
        best = tf.argmax(scores, 1, tf.int32)
        alpha = tf.where(is_valid[:, None], tf.reduce_max(scores, 1) + emission, alpha)
        return alpha, tf.where(is_valid[:, None], best, unchanged)

    first = start + emissions[:, 0]
    alphas, origins = tf.scan(step, _after_first(emissions, mask), (first, tf.zeros_like(first, tf.int32)))
    final = tf.concat([first[None], alphas], 0)[-1] + end
    last = tf.argmax(final, 1, tf.int32)
    earlier = tf.scan(lambda tag, origin: tf.gather(origin, tag, batch_dims=1), origins, last, reverse=True)
    return tf.transpose(tf.concat([earlier, last[None]], 0))


def marginals(
    emissions: tf.Tensor, transitions: tf.Tensor, start: tf.Tensor, end: tf.Tensor, mask: tf.Tensor
) -> tf.Tensor:
    """Return the probability of each tag at each position, [B, S, C]; any where `mask` is False."""

    def backward_step(beta, emission_and_valid):
        emission, is_valid = emission_and_valid
        previous = tf.reduce_logsumexp(transitions + (emission + beta)[:, None], 2)
        return tf.where(is_valid[:, None], previous, beta)

    first = start + emissions[:, 0]
    final = tf.zeros_like(first) + end
    after_first = _after_first(emissions, mask)
    alphas = tf.concat([first[None], tf.scan(_forward_step(transitions), after_first, first)], 0)
    betas = tf.concat([tf.scan(backward_step, after_first, final, reverse=True), final[None]], 0)
    return tf.transpose(tf.nn.softmax(alphas + betas), [1, 0, 2])


def _after_first(emissions, mask):
    """Return emissions and mask of all positions but the first, time first."""
    return tf.transpose(emissions, [1, 0, 2])[1:], tf.transpose(mask)[1:]


def _forward_step(transitions):
    """Return a step of the forward algorithm; invalid positions leave alpha unchanged."""

    def step(alpha, emission_and_valid):
        emission, is_valid = emission_and_valid
        following = tf.reduce_logsumexp(alpha[:, :, None] + transitions, 1) + emission
        return tf.where(is_valid[:, None], following, alpha)

    return step
