"""Ranks and masks of labels, weights and losses."""

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


def match_rank(tensor: tf.Tensor, rank: int) -> tf.Tensor:
    """Return `tensor` with the rank `rank`: with axes of size 1 appended, or trailing axes of size 1 removed."""
    while len(tensor.shape) > rank and tensor.shape[-1] == 1:
        tensor = tf.squeeze(tensor, -1)
    while len(tensor.shape) < rank:
        tensor = tf.expand_dims(tensor, -1)
    return tensor


def with_last_axis(tensor: tf.Tensor) -> tf.Tensor:
    """Return a tensor [B] as [B, 1], and others unchanged."""
    return tf.expand_dims(tensor, -1) if len(tensor.shape) == 1 else tensor


def match_output(labels: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    """Return labels with the rank of an output [B, ..., 1]; other labels unchanged."""
    if len(labels.shape) == len(output.shape) - 1 and output.shape[-1] == 1:
        return tf.expand_dims(labels, -1)
    if len(labels.shape) == len(output.shape) + 1 and labels.shape[-1] == 1:
        return tf.squeeze(labels, -1)
    return labels


def needs_output_rank(function: Callable[[tf.Tensor, tf.Tensor], Any], output_shape: Sequence[int | None]) -> bool:
    """Return whether a function would broadcast labels [B, ...] against outputs [B, ..., 1], so that rows mix.

    The function is tried on two small rows: a mean over rows equals the mean of the rows' own values, unless they mix.

    Args:
        function: From labels and outputs to one value per row or label.
        output_shape: The output's shape, batch included.
    """
    if len(output_shape) == 1:
        return True  # labels [B] and outputs [B] are called as [B, 1], so that a mean over the last axis keeps rows
    if output_shape[-1] != 1:
        return False
    sizes = [2, *(min(size or 2, 2) for size in output_shape[1:])]
    output = tf.reshape(tf.linspace(0.1, 0.8, math.prod(sizes)), sizes)
    labels = tf.cast(tf.reshape(tf.range(tf.size(output)) % 2, sizes), tf.float32)
    return not _keeps_rows_apart(function, labels[..., 0], output) and _keeps_rows_apart(function, labels, output)


def _keeps_rows_apart(function, labels, output):
    try:
        together, *rows = (
            np.mean(function(labels[rows], output[rows])) for rows in (slice(None), slice(0, 1), slice(1, 2))
        )
    except Exception:  # whatever a user's function raises for these shapes
        return False
    return bool(np.isclose(together, np.mean(rows), rtol=1e-4))


def mixes_rows(function: Callable[[tf.Tensor, tf.Tensor], Any], output_shape: Sequence[int | None]) -> bool:
    """Return whether a loss compares the rows of a batch, tried on two rows, with labels of both usual ranks.

    A function that raises for labels of either rank counts as one that keeps rows apart.
    """
    sizes = [2, *(size or 2 for size in output_shape[1:])]
    output = tf.reshape(tf.sin(tf.range(math.prod(sizes), dtype=tf.float32)), sizes)
    kept_apart = []
    for rank in {len(sizes), max(len(sizes) - 1, 1)}:
        labels = tf.cast(tf.reshape(tf.range(math.prod(sizes[:rank])) % 2, sizes[:rank]), tf.float32)
        with contextlib.suppress(Exception):  # whatever a user's function raises for these shapes
            function(labels, output)
            kept_apart.append(_keeps_rows_apart(function, labels, output))
    return bool(kept_apart) and not any(kept_apart)


def keras_mask(tensor: tf.Tensor) -> tf.Tensor | None:
    """Return the mask that Keras' layers have attached to a tensor, or None."""
    return getattr(tensor, "_keras_mask", None)


def with_keras_mask(tensor: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Attach a mask to a tensor, as Keras' layers do, and return the tensor."""
    if mask is not None:
        tensor._keras_mask = mask
    return tensor


def masked_weight(weight: tf.Tensor | None, mask: tf.Tensor) -> tf.Tensor:
    """Return label weights, float32, that are 0 where a mask is False.

    Args:
        weight: Weights with one entry per row, per position of the mask, or per value at each position; None for 1.
        mask: A mask [B, ...].
    """
    mask = tf.cast(mask, tf.float32)
    if weight is None:
        return mask
    rank = max(len(weight.shape), len(mask.shape))
    return match_rank(tf.cast(weight, tf.float32), rank) * match_rank(mask, rank)


def weight_per_label(weight: tf.Tensor, labels: tf.Tensor, prediction: tf.Tensor) -> tf.Tensor:
    """Return label weights with an entry for each label, where labels are one per position of a prediction.

    Args:
        weight: Weights of any rank that broadcast to the positions, such as one per row. Returned unchanged if they
            have an entry for each position or more, or if labels do not belong to positions, such as lists of boxes.
        labels: Labels [B, ..., D] for a prediction [B, ..., D], or [B, ...] for [B, ..., D].
        prediction: What the labels are compared with.
    """
    positions = len(prediction.shape) - 1
    has_last_axis = len(labels.shape) == positions + 1 and labels.shape[-1] in (1, prediction.shape[-1])
    fits = labels.shape[1:positions].is_compatible_with(prediction.shape[1:positions])
    if positions < 2 or not fits or not (has_last_axis or len(labels.shape) == positions):
        return weight
    rank, known = max(len(weight.shape), positions), labels.shape[1:positions]
    if known.is_fully_defined():
        if len(weight.shape) >= positions and weight.shape[1:positions] == known:
            return weight
        return match_rank(weight, rank) * tf.ones([1, *known, *[1] * (rank - positions)])
    shape = tf.concat([tf.shape(labels)[:positions], tf.shape(weight)[positions:]], 0)
    return tf.broadcast_to(match_rank(weight, rank), shape)
