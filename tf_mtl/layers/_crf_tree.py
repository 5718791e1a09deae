"""Sums and maxima over the paths of a conditional random field, in a number of steps logarithmic in the length.

The functions are those of `_crf_loop`. Each position is a matrix [C, C] of the scores of moving there from the position
before. The product of all matrices, with sums or maxima over the tags between, is computed in pairs, then in pairs of
the products, and so on. That takes log2(S) launches of large ops, which suits GPUs, but B S C^3 work, and memory for
several tensors [B, S, C, C], of float64 where gradients are needed: each has 110 MB for B = 32, S = 256, C = 41.
"""

import tensorflow as tf

_LEVELS = 14  # where the length is unknown when the graph is traced: enough for 16,384 positions
_RANGE = 150.0  # in sums, transition, start and end scores count as at most so much below the largest of their kind
_GROUP = 256  # tags times tags whose sums with all other tags are in memory at one time


def log_partition(
    emissions: tf.Tensor, transitions: tf.Tensor, start: tf.Tensor, end: tf.Tensor, mask: tf.Tensor
) -> tf.Tensor:
    """Return the log-sum-exp of the scores of all paths, [B]."""
    # Matrix products of exponentials need no memory for [B, S, C, C, C] sums. Divided by its largest entry, a product
    # keeps at least exp(-_RANGE) in each row whatever the emissions, so float64 neither underflows nor overflows,
    # forward or backward. On recent GPUs, products in float32 would be rounded to TF32.
    emissions = tf.cast(emissions, tf.float64)
    highest = tf.stop_gradient(tf.reduce_max(emissions, 2, keepdims=True))
    transitions, move = _below_largest(transitions)
    start, first = _below_largest(start)
    end, last = _below_largest(end)
    is_valid = tf.cast(mask, tf.float64)
    shift = tf.reduce_sum(tf.where(mask, highest[:, :, 0], 0.0), 1) + move * tf.reduce_sum(is_valid[:, 1:], 1)
    nodes = tf.exp(_leaves(emissions - highest, transitions, start, mask))
    for _ in range(_levels(nodes)):
        left, right, rest = _pairs(nodes)
        product = left @ right
        largest = tf.stop_gradient(tf.reduce_max(product, [2, 3], keepdims=True))
        shift += tf.reduce_sum(tf.math.log(largest), [1, 2, 3])
        nodes = _joined(product / largest, rest)
    total = tf.reduce_sum(_root(nodes) * tf.exp(end), 1)
    return tf.cast(tf.math.log(total) + shift + first + last, tf.float32)


def best_path(
    emissions: tf.Tensor, transitions: tf.Tensor, start: tf.Tensor, end: tf.Tensor, mask: tf.Tensor
) -> tf.Tensor:
    """Return the tags of a path of the highest score, [B, S]; any where `mask` is False."""
    nodes, origins = _leaves(emissions, transitions, start, mask), []
    for _ in range(_levels(nodes)):
        left, right, rest = _pairs(nodes)
        best, origin = _max_product(left, right)
        nodes = _joined(best, rest)
        origins.append(origin)
    last = tf.argmax(_root(nodes) + end, 1, tf.int32)
    tags = tf.stack([tf.zeros_like(last), last], 1)  # those before the first position and at the end of each node
    for origin in reversed(origins):
        rows, pairs, count, _ = _shape(origin)
        choices = tf.reshape(origin, [rows, pairs, count * count])
        between = tf.gather(choices, tags[:, :pairs] * count + tags[:, 1 : pairs + 1], batch_dims=2)
        both = tf.reshape(tf.stack([tags[:, :pairs], between], 2), [rows, 2 * pairs])
        tags = tf.concat([both, tags[:, pairs:]], 1)
    return tags[:, 1:]


def marginals(
    emissions: tf.Tensor, transitions: tf.Tensor, start: tf.Tensor, end: tf.Tensor, mask: tf.Tensor
) -> tf.Tensor:
    """Return the probability of each tag at each position, [B, S, C]; 0 where `mask` is False."""
    with tf.GradientTape() as tape:  # they are the derivatives of the log-partition function
        tape.watch(emissions)
        value = log_partition(emissions, transitions, start, end, mask)
    return tape.gradient(value, emissions)


def _leaves(emissions, transitions, start, mask):
    """Return the scores of moving from tag to tag, [B, S, C, C].

    Moves to the first position have its start scores, whatever tag they come from. At invalid positions tags stay.
    """
    is_first = tf.range(tf.shape(emissions)[1])[:, None, None] == 0
    scores = tf.where(is_first, start, transitions) + emissions[:, :, None]
    identity = tf.math.log(tf.eye(emissions.shape[2], dtype=emissions.dtype))
    return tf.where(mask[:, :, None, None], scores, identity)


def _below_largest(scores):
    """Return scores minus the largest one, at least -_RANGE, and the largest one, in float64."""
    scores = tf.cast(scores, tf.float64)
    largest = tf.stop_gradient(tf.reduce_max(scores))
    below = scores - largest
    return tf.where(below < -_RANGE, tf.cast(-_RANGE, tf.float64), below), largest  # unlike tf.maximum, it keeps NaN


def _levels(nodes):
    """Return how often nodes are joined in pairs until one remains; more often costs little and changes nothing."""
    return _LEVELS if nodes.shape[1] is None else (nodes.shape[1] - 1).bit_length()


def _root(nodes):
    """Return the first row of the one node left, [B, C]; it equals the others, as there is no tag before the first."""
    return tf.ensure_shape(nodes, [None, 1, None, None])[:, 0, 0]


def _pairs(nodes):
    """Return the left and the right nodes of all pairs, and a last node that has no partner."""
    rows, count, tags, _ = _shape(nodes)
    paired, rest = tf.split(nodes, [count // 2 * 2, count % 2], 1)
    left, right = tf.unstack(tf.reshape(paired, [rows, count // 2, 2, tags, tags]), axis=2)
    return left, right, rest


def _joined(products, rest):
    return products if rest.shape[1] == 0 else tf.concat([products, rest], 1)


def _max_product(left, right):
    """Return max_k left[i, k] + right[k, j] of matrices, and the k."""
    best: list[tf.Tensor] = []
    origins: list[tf.Tensor] = []
    count = left.shape[2]
    size = max(1, _GROUP // count)
    for begin in range(0, count, size):
        with tf.control_dependencies(best[-1:]):  # one group of rows at a time is in memory
            scores = left[:, :, begin : begin + size, :, None] + right[:, :, None]
        best.append(tf.reduce_max(scores, 3))
        origins.append(tf.argmax(scores, 3, tf.int32))
    return tf.concat(best, 2), tf.concat(origins, 2)


def _shape(x):
    """Return the sizes of the axes: integers where they are known, else scalar tensors."""
    dynamic = tf.shape(x)
    return [dynamic[axis] if size is None else size for axis, size in enumerate(x.shape)]
