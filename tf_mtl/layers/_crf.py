"""A linear-chain conditional random field over the tags of a sequence."""

import keras
import numpy as np
import tensorflow as tf

_IMPOSSIBLE = -1e9


@keras.saving.register_keras_serializable("tf_mtl")
class CRF(keras.layers.Layer):
    r"""Transition scores beside a sequence's emission scores: from [B, S, C] to [B, S + C + 2, C], float32.

    A path $y_1 \dots y_n$ has the score
    $$s(y) = a_{y_1} + \sum_{t=1}^{n} e_{t, y_t} + \sum_{t=2}^{n} T_{y_{t-1}, y_t} + b_{y_n}$$
    and the probability $e^{s(y)} / \sum_{y'} e^{s(y')}$, with the emissions $e$ that the layer is given and its
    weights: transitions $T$ [C, C], start scores $a$ and end scores $b$. One tensor carries all of them, so that loss
    and decoding need nothing but the model's output: S rows of emissions, then C of $T$ (from each tag), then $a$ and
    $b$. `negative_log_likelihood`, `viterbi` and `marginals` read it, in the graph.

    Args:
        **kwargs: See `keras.layers.Layer`; the layer computes in float32 whatever its policy.

    Example:

    >>> output = mtl.layers.CRF()(np.zeros((1, 3, 2), "float32"))
    >>> output.shape
    TensorShape([1, 7, 2])
    >>> loss = mtl.layers.CRF.negative_log_likelihood(output, np.array([[0, 1, 1]]), np.ones((1, 3)))
    >>> [round(float(value), 4) for value in loss]  # log 2**3: all paths are alike
    [2.0794]

    Reference: Lafferty, McCallum & Pereira, "Conditional Random Fields", ICML 2001.
    """

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.supports_masking = True

    def build(self, input_shape):
        """Make the transition, start and end scores, zero at first."""
        tags = input_shape[-1]
        self.transitions = self.add_weight(shape=(tags, tags), initializer="zeros", name="transitions")
        self.start = self.add_weight(shape=(tags,), initializer="zeros", name="start")
        self.end = self.add_weight(shape=(tags,), initializer="zeros", name="end")

    def call(self, inputs):
        """Return the emissions with the transition scores behind them."""
        scores = tf.concat([self.transitions, self.start[None], self.end[None]], 0)
        rows = tf.shape(inputs)[0]
        return tf.concat([inputs, tf.tile(scores[None], [rows, 1, 1])], 1)

    def compute_mask(self, inputs, mask=None):
        """Return no mask: the output's second axis is no longer that of the sequence."""
        return

    def compute_output_shape(self, input_shape):
        batch, steps, tags = input_shape
        return (batch, None if steps is None else steps + tags + 2, tags)

    @staticmethod
    def negative_log_likelihood(output: tf.Tensor, tags: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        """Return -log p(tags) of each sequence, [B]; 0 where no tag counts.

        Args:
            output: What the layer returned, [B, S + C + 2, C].
            tags: Indices [B, S].
            weight: [B, S]; positions of weight 0 are left out, as if those around them were neighbours.
        """
        emissions, transitions, start, end = _parts(output)
        counted = tf.cast(weight, tf.float32) > 0
        emissions, tags, mask = _compact(emissions, tf.cast(tags, tf.int32), counted)
        last = tf.maximum(tf.reduce_sum(tf.cast(mask, tf.int32), 1) - 1, 0)
        score = tf.gather(start, tags[:, 0]) + tf.gather(end, tf.gather(tags, last, batch_dims=1))
        present = tf.cast(mask, tf.float32)
        score += tf.reduce_sum(present * tf.gather(emissions, tags, batch_dims=2), 1)
        moves = tf.gather_nd(transitions, tf.stack([tags[:, :-1], tags[:, 1:]], -1))
        score += tf.reduce_sum(present[:, 1:] * moves, 1)

        def step(alpha, now):
            emission, there = now
            further = tf.reduce_logsumexp(alpha[:, :, None] + transitions, 1) + emission
            return tf.where(there[:, None], further, alpha)

        alpha = tf.foldl(step, _over_time(emissions, mask), start + emissions[:, 0])
        return tf.where(mask[:, 0], tf.reduce_logsumexp(alpha + end, 1) - score, 0.0)

    @staticmethod
    def viterbi(
        output: tf.Tensor,
        mask: tf.Tensor,
        allowed: np.ndarray | None = None,
        allowed_first: np.ndarray | None = None,
    ) -> tf.Tensor:
        """Return the likeliest tags [B, S], 0 where `mask` is False.

        Args:
            output: What the layer returned, [B, S + C + 2, C].
            mask: Which positions are there, [B, S]; the others are left out.
            allowed: Which tag may follow which, [C, C]; all by default.
            allowed_first: Which tags may come first, [C]; all by default.
        """
        emissions, transitions, start, end = _parts(output)
        if allowed is not None:
            transitions += tf.where(allowed, 0.0, _IMPOSSIBLE)
        if allowed_first is not None:
            start += tf.where(allowed_first, 0.0, _IMPOSSIBLE)
        order = _order(mask)
        emissions, mask = tf.gather(emissions, order, batch_dims=1), tf.gather(mask, order, batch_dims=1)
        stay = tf.range(tf.shape(emissions)[2])

        def forward(state, now):
            alpha, _ = state
            emission, there = now
            scores = alpha[:, :, None] + transitions
            best = tf.argmax(scores, 1, tf.int32)
            alpha = tf.where(there[:, None], tf.reduce_max(scores, 1) + emission, alpha)
            return alpha, tf.where(there[:, None], best, stay)

        first = start + emissions[:, 0]
        alphas, origins = tf.scan(forward, _over_time(emissions, mask), (first, tf.zeros_like(first, tf.int32)))
        final = tf.concat([first[None], alphas], 0)[-1] + end
        last = tf.argmax(final, 1, tf.int32)
        earlier = tf.scan(lambda tag, origin: tf.gather(origin, tag, batch_dims=1), origins, last, reverse=True)
        found = tf.transpose(tf.concat([earlier, last[None]], 0))
        back = tf.argsort(order, 1)
        return tf.gather(tf.where(mask, found, 0), back, batch_dims=1)

    @staticmethod
    def marginals(output: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Return the probability of each tag at each position, over all paths, [B, S, C]; 0 where `mask` is False.

        Args:
            output: What the layer returned, [B, S + C + 2, C].
            mask: Which positions are there, [B, S]; the others are left out.
        """
        emissions, transitions, start, end = _parts(output)
        order = _order(mask)
        emissions, there = tf.gather(emissions, order, batch_dims=1), tf.gather(mask, order, batch_dims=1)

        def forward(alpha, now):
            emission, there = now
            further = tf.reduce_logsumexp(alpha[:, :, None] + transitions, 1) + emission
            return tf.where(there[:, None], further, alpha)

        def backward(beta, now):
            emission, there = now
            further = tf.reduce_logsumexp(transitions + (emission + beta)[:, None], 2)
            return tf.where(there[:, None], further, beta)

        first = start + emissions[:, 0]
        final = tf.zeros_like(first) + end
        over_time = _over_time(emissions, there)
        alphas = tf.concat([first[None], tf.scan(forward, over_time, first)], 0)
        betas = tf.concat([tf.scan(backward, over_time, final, reverse=True), final[None]], 0)
        found = tf.transpose(tf.nn.softmax(alphas + betas), [1, 0, 2])
        back = tf.argsort(order, 1)
        return tf.gather(tf.where(there[..., None], found, 0.0), back, batch_dims=1)


def _parts(output):
    """Emissions [B, S, C], transitions [C, C], start and end scores [C]; the scores are the same in every row."""
    output = tf.cast(output, tf.float32)
    tags = output.shape[-1]
    scores = tf.reduce_sum(output[:1, -tags - 2 :], 0)  # those of the first row; none in an empty batch
    return output[:, : -tags - 2], scores[:tags], scores[tags], scores[tags + 1]


def _order(mask):
    """The positions of each row, those that are there first, in their order."""
    return tf.argsort(tf.cast(~tf.cast(mask, tf.bool), tf.int32), 1, stable=True)


def _compact(emissions, tags, mask):
    order = _order(mask)
    return tuple(tf.gather(x, order, batch_dims=1) for x in (emissions, tags, mask))


def _over_time(emissions, mask):
    """The second position and all after it, time first."""
    return tf.transpose(emissions, [1, 0, 2])[1:], tf.transpose(mask)[1:]
