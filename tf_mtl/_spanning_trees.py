"""Maximum spanning trees of batches of sentences, in the graph."""

from typing import NamedTuple

import tensorflow as tf

_IMPOSSIBLE = float("-inf")


def spanning_trees(scores: tf.Tensor, is_word: tf.Tensor) -> tf.Tensor:
    """Return the heads of the tree of the highest total score whose root has exactly one dependent.

    It is Edmonds' algorithm. If the best tree without the rule of one root has several roots, it runs again with arcs
    from the root as the last resort: all words are contracted into one node before it takes its arc from the root.
    This is the same as subtracting a large constant from the scores of these arcs, without the loss of precision
    (Stanojević & Cohen, "A root of the problem: optimizing single-root dependency parsing", EMNLP 2021).

    Args:
        scores: The score of each dependent's heads, [B, W, W + 1]: head 0 is the root, and head i is word i - 1.
        is_word: Which positions contain a word, [B, W].

    Returns:
        The heads, int32 [B, W]; undefined where no word is.
    """
    heads = _best_trees(scores, is_word, several_roots=True)
    roots = tf.reduce_sum(tf.cast(is_word & (heads == 0), tf.int32), 1, keepdims=True)
    has_several = roots > 1
    return tf.where(has_several, _best_trees(scores, is_word & has_several, several_roots=False), heads)


class _Round(NamedTuple):
    """One round of contraction.

    Attributes:
        step: The number of rounds so far, [].
        nodes: The contracted node of each word and of the root, int32 [B, N]: its first member.
        scores: The scores [B, N, N] of dependents' heads, less those of the arcs that entered their nodes before.
        history: For each round its nodes, and the dependent and the head of the arc that enters each, [N, 3, B, N].
        changed: Whether the last round has contracted a cycle, [].
    """

    step: tf.Tensor
    nodes: tf.Tensor
    scores: tf.Tensor
    history: tf.Tensor
    changed: tf.Tensor


def _best_trees(scores: tf.Tensor, is_word: tf.Tensor, several_roots: bool) -> tf.Tensor:
    """Return the heads [B, W] of the best trees.

    In each round, the best arc enters each node, and each cycle of these arcs becomes one node. An arc into a cycle
    replaces the one that enters the same member, so scores are reduced by those of the arcs chosen before.

    Args:
        scores: See `spanning_trees`.
        is_word: See `spanning_trees`.
        several_roots: Whether the root may have several dependents.
    """
    size = tf.shape(scores)[2]
    index = tf.range(size)
    is_dependent, is_head = (tf.pad(is_word, [[0, 0], [1, 0]], constant_values=root) for root in (False, True))
    is_arc = is_dependent[:, :, None] & is_head[:, None, :] & (index[:, None] != index)
    scores = tf.where(is_arc, tf.pad(scores, [[0, 0], [1, 0], [0, 0]]), _IMPOSSIBLE)

    def contract(*state: tf.Tensor) -> _Round:
        this = _Round(*state)
        arcs = tf.where(this.nodes[:, :, None] != this.nodes[:, None, :], this.scores, _IMPOSSIBLE)
        if not several_roots:
            is_unfinished = tf.reduce_any(arcs[:, :, 1:] > _IMPOSSIBLE, [1, 2], keepdims=True)
            arcs = tf.where(is_unfinished & (index == 0), _IMPOSSIBLE, arcs)
        best_heads = tf.argmax(arcs, 2, tf.int32)
        best_scores = tf.gather(arcs, best_heads, batch_dims=2)
        of_members = tf.where(this.nodes[:, None, :] == index[:, None], best_scores[:, None, :], _IMPOSSIBLE)
        dependents = tf.argmax(of_members, 2, tf.int32)
        heads = tf.gather(best_heads, dependents, batch_dims=1)
        entering = tf.gather(of_members, dependents, batch_dims=2)
        is_entered = entering > _IMPOSSIBLE
        sources = tf.where(is_entered, tf.gather(this.nodes, heads, batch_dims=1), index)
        nodes = tf.gather(_contracted(sources), this.nodes, batch_dims=1)
        reduction = tf.gather(tf.where(is_entered, entering, 0.0), this.nodes, batch_dims=1)
        record = tf.stack([this.nodes, dependents, heads])
        return _Round(
            this.step + 1,
            nodes,
            this.scores - reduction[:, :, None],
            tf.tensor_scatter_nd_update(this.history, [[this.step]], record[None]),
            tf.reduce_any(nodes != this.nodes),
        )

    nodes = tf.zeros_like(is_head, tf.int32) + index
    history = tf.zeros([size, 3, tf.shape(scores)[0], size], tf.int32)
    start = _Round(tf.constant(0), nodes, scores, history, tf.reduce_any(is_word))
    end = tf.while_loop(lambda step, *state: state[-1] & (step < size), contract, start)
    return _expanded(end.history, end.step)[:, 1:]


def _contracted(sources: tf.Tensor) -> tf.Tensor:
    """Return the node that each node becomes: on a cycle its smallest member, otherwise itself.

    Args:
        sources: The node that the arc into each node comes from, int32 [B, N]; itself if no arc enters it.
    """
    size = tf.shape(sources)[1]
    index = tf.range(size)

    def double(steps, after, smallest):
        """From 2^k steps against the arcs to 2^(k+1)."""
        smallest = tf.minimum(smallest, tf.gather(smallest, after, batch_dims=1))
        return 2 * steps, tf.gather(after, after, batch_dims=1), smallest

    start = tf.constant(1), sources, tf.zeros_like(sources) + index
    _, after, smallest = tf.while_loop(lambda steps, *_: steps < size, double, start)
    is_on_cycle = tf.reduce_any(after[:, :, None] == index, 1)  # where at least N steps can end
    return tf.where(is_on_cycle, smallest, index)


def _expanded(history: tf.Tensor, rounds: tf.Tensor) -> tf.Tensor:
    """Return the heads of all words [B, N], from the last round to the first.

    The arc into a node enters one of the nodes that it consists of; the others keep those of their own round.
    """
    index = tf.range(tf.shape(history)[3])

    def expand(step, dependents, heads):
        inner_nodes, inner_dependents, inner_heads = tf.unstack(history[step - 1])
        nodes = history[step, 0]
        dependents, heads = (tf.gather(x, nodes, batch_dims=1) for x in (dependents, heads))
        is_entered = tf.gather(inner_nodes, dependents, batch_dims=1) == index
        return step - 1, tf.where(is_entered, dependents, inner_dependents), tf.where(is_entered, heads, inner_heads)

    last = tf.maximum(rounds - 1, 0)
    start = last, history[last, 1], history[last, 2]
    return tf.while_loop(lambda step, *_: step > 0, expand, start)[2]
