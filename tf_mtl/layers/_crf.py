"""A linear-chain conditional random field over the tags of a sequence."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_mtl.layers import _crf_loop, _crf_tree
from tf_mtl.layers._valid_first import valid_first

_IMPOSSIBLE = -1e9
_MOST_TAGS = 64  # of trees, whose work and memory per position grow with the third and second power


@keras.saving.register_keras_serializable("tf_mtl")
class CRF(keras.layers.Layer):
    r"""Appends transition scores to a sequence's emission scores: from [B, S, C] to [B, S + C + 2, C], float32.

    A path $y_1 \dots y_n$ has the score
    $$s(y) = a_{y_1} + \sum_{t=1}^{n} e_{t, y_t} + \sum_{t=2}^{n} T_{y_{t-1}, y_t} + b_{y_n}$$
    and the probability $e^{s(y)} / \sum_{y'} e^{s(y')}$. The emissions $e$ are the layer's inputs; transitions $T$
    [C, C], start scores $a$ and end scores $b$ are its weights. The output contains all of them, so that loss and
    decoding need only the model's output: S rows of emissions, then C rows of $T$ (one for each tag that a transition
    starts from), then $a$ and $b$. `negative_log_likelihood`, `viterbi` and `marginals` read such an output and run in
    the graph.

    Args:
        **kwargs: See `keras.layers.Layer`; the layer computes in float32 under any precision policy.

    Example:

    >>> output = mtl.layers.CRF()(np.zeros((1, 3, 2), "float32"))
    >>> output.shape
    TensorShape([1, 7, 2])
    >>> loss = mtl.layers.CRF.negative_log_likelihood(output, np.array([[0, 1, 1]]), np.ones((1, 3)))
    >>> [round(float(value), 4) for value in loss]  # log 2**3: all paths have the same score
    [2.0794]

    Reference: Lafferty, McCallum & Pereira, "Conditional Random Fields", ICML 2001.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Create the transition, start and end scores, initially zero."""
        tags = input_shape[-1]
        self.transitions = self.add_weight(shape=(tags, tags), initializer="zeros", name="transitions")
        self.start = self.add_weight(shape=(tags,), initializer="zeros", name="start")
        self.end = self.add_weight(shape=(tags,), initializer="zeros", name="end")

    def call(self, inputs: Any) -> tf.Tensor:
        """Return the emissions, followed by the transition, start and end scores."""
        scores = tf.concat([self.transitions, self.start[None], self.end[None]], 0)
        rows = tf.shape(inputs)[0]
        return tf.concat([inputs, tf.tile(scores[None], [rows, 1, 1])], 1)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """Return no mask: the output's second axis is no longer that of the sequence."""

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int | None, int]:
        """Return [B, S + C + 2, C]."""
        batch, steps, tags = input_shape
        return (batch, None if steps is None else steps + tags + 2, tags)

    @staticmethod
    def negative_log_likelihood(output: tf.Tensor, tags: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        """Return -log p(tags) of each sequence, [B]; 0 where all weights are 0.

        Args:
            output: The layer's output, [B, S + C + 2, C].
            tags: Indices [B, S].
            weight: [B, S]; positions of weight 0 are left out, as if their neighbours were adjacent.
        """
        emissions, transitions, start, end = _scores(output)
        mask = tf.cast(weight, tf.float32) > 0
        order = valid_first(mask)
        emissions, tags, mask = (tf.gather(x, order, batch_dims=1) for x in (emissions, tf.cast(tags, tf.int32), mask))
        last = tf.maximum(tf.reduce_sum(tf.cast(mask, tf.int32), 1) - 1, 0)
        score = tf.gather(start, tags[:, 0]) + tf.gather(end, tf.gather(tags, last, batch_dims=1))
        is_valid = tf.cast(mask, tf.float32)
        score += tf.reduce_sum(is_valid * tf.gather(emissions, tags, batch_dims=2), 1)
        moves = tf.gather_nd(transitions, tf.stack([tags[:, :-1], tags[:, 1:]], -1))
        score += tf.reduce_sum(is_valid[:, 1:] * moves, 1)
        scores = _Scores(emissions, transitions, start, end)
        log_partition = _by_device(_crf_loop.log_partition, _crf_tree.log_partition, scores, mask)
        return tf.where(mask[:, 0], log_partition - score, 0.0)

    @staticmethod
    def viterbi(
        output: tf.Tensor,
        mask: tf.Tensor,
        allowed: np.ndarray | None = None,
        allowed_first: np.ndarray | None = None,
    ) -> tf.Tensor:
        """Return the most probable tags [B, S], 0 where `mask` is False.

        Args:
            output: The layer's output, [B, S + C + 2, C].
            mask: Which positions are valid, [B, S]; the others are left out.
            allowed: Whether the second tag may follow the first, [C, C]; always by default.
            allowed_first: Which tags may come first, [C]; all by default.
        """
        emissions, transitions, start, end = _scores(output)
        if allowed is not None:
            transitions += tf.where(allowed, 0.0, _IMPOSSIBLE)
        if allowed_first is not None:
            start += tf.where(allowed_first, 0.0, _IMPOSSIBLE)
        order = valid_first(mask)
        emissions, mask = tf.gather(emissions, order, batch_dims=1), tf.gather(mask, order, batch_dims=1)
        scores = _Scores(emissions, transitions, start, end)
        tags = _by_device(_crf_loop.best_path, _crf_tree.best_path, scores, mask)
        return tf.gather(tf.where(mask, tags, 0), tf.argsort(order, 1), batch_dims=1)

    @staticmethod
    def marginals(output: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Return the probability of each tag at each position, over all paths, [B, S, C]; 0 where `mask` is False.

        Args:
            output: The layer's output, [B, S + C + 2, C].
            mask: Which positions are valid, [B, S]; the others are left out.
        """
        emissions, transitions, start, end = _scores(output)
        order = valid_first(mask)
        emissions, mask = tf.gather(emissions, order, batch_dims=1), tf.gather(mask, order, batch_dims=1)
        scores = _Scores(emissions, transitions, start, end)
        probabilities = _by_device(_crf_loop.marginals, _crf_tree.marginals, scores, mask)
        return tf.gather(tf.where(mask[..., None], probabilities, 0.0), tf.argsort(order, 1), batch_dims=1)


class _Scores(NamedTuple):
    emissions: tf.Tensor
    transitions: tf.Tensor
    start: tf.Tensor
    end: tf.Tensor


def _scores(output):
    """Return the emissions [B, S, C], the transitions [C, C], and the start and end scores [C] in an output."""
    output = tf.cast(output, tf.float32)
    tags = output.shape[-1]
    scores = tf.reduce_sum(output[:1, -tags - 2 :], 0)  # the first row's, the same in all rows; zeros without rows
    return _Scores(output[:, : -tags - 2], scores[:tags], scores[tags], scores[tags + 1])


def _by_device(loop: Callable, tree: Callable, scores: _Scores, mask: tf.Tensor) -> tf.Tensor:
    """Return what both functions compute: by the tree on GPUs, where launching a loop's small ops takes longest."""
    if scores.emissions.shape[2] > _MOST_TAGS or not tf.config.list_logical_devices("GPU"):
        return loop(*scores, mask)
    # The form is chosen where the graph runs: a model exported here may be served on a CPU, where the loop is faster.
    form = tf.__internal__.execute_fn_for_device({"CPU": lambda: tf.constant(0)}, lambda: tf.constant(1))
    if tf.get_static_value(form) == 1:  # under XLA, which fails at gradients of conditions with loops inside
        return tree(*scores, mask)
    return tf.switch_case(form, [lambda: loop(*scores, mask), lambda: tree(*scores, mask)])
