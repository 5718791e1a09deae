"""Soft parameter sharing: an encoder for each task, with a penalty that pulls their weights together."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.trunks._base import Features, Trunk, as_features
from tf_mtl.trunks._stages import Encoder, copy, layer_or_layers, layers, run


@keras.saving.register_keras_serializable("tf_mtl")
class SoftSharing(Trunk):
    r"""One encoder per task, with a penalty on the distance between the encoders' weights.

    All encoders start with the same weights: those of `encoder` if it is built. With w_t all trainable weights of task
    t's encoder, the model's loss contains `strength` times

    - "mean": sum_t ||w_t - mean_s w_s||^2;
    - "pairs": sum_{s<t} ||w_s - w_t||^2 (Duong et al., "Low Resource Dependency Parsing: Cross-lingual Parameter
      Sharing in a Neural Network Parser", ACL 2015), which is T times "mean";
    - "trace_norm": the sum over the encoder's weight tensors of the singular values of the matrix [D, T] that has the
      tasks' flattened tensors as columns (Yang and Hospedales, "Trace Norm Regularised Deep Multi-Task Learning",
      2017). Singular values below a thousandth of the largest get a smaller gradient.

    The tasks share no variable, so methods that balance gradients have nothing to balance and raise an error.

    Args:
        encoder: A Keras layer or model, or a list of layers. Each task gets a copy.
        penalty_kind: "mean", "pairs" or "trace_norm".
        strength: Factor of the penalty. Our default; the useful range depends on the encoder.

    Raises:
        TypeError: if `encoder` does not consist of layers.
        ValueError: for another kind of penalty, or a negative strength.

    Example:

    >>> trunk = mtl.trunks.SoftSharing(mtl.encoders.MLPEncoder([8]), strength=0.01)
    >>> features = trunk(keras.Input((4,)), ["a", "b"])
    >>> features["a"]["pooled"] is features["b"]["pooled"]
    False
    """

    def __init__(self, encoder: Encoder, penalty_kind: str = "mean", strength: float = 1e-3):
        if penalty_kind not in _DISTANCES:
            raise ValueError(f"`penalty_kind` must be 'mean', 'pairs' or 'trace_norm', received {penalty_kind!r}.")
        if not strength >= 0:
            raise ValueError(f"`strength` must be at least 0, received {strength}.")
        self.encoder = layer_or_layers("encoder", encoder)
        self.penalty_kind = penalty_kind
        self.strength = strength

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return for each task the features of its own encoder."""
        copies = {task: copy(self.encoder, task) for task in tasks}
        features = {task: as_features(run("encoder", encoder, inputs)) for task, encoder in copies.items()}
        first, *others = copies.values()
        for encoder in others:
            for layer, first_layer in zip(layers(encoder), layers(first), strict=True):
                layer.set_weights(first_layer.get_weights())
        return features

    def penalty(self, model: keras.Model) -> tf.Tensor:
        """Return the penalty on the distance between the tasks' encoders.

        Args:
            model: A model built with this trunk.
        """
        distance = _DISTANCES[self.penalty_kind]
        names = [layer.name for layer in layers(self.encoder)]
        by_task = [
            [v for name in names for v in model.get_layer(f"{name}_{task}").trainable_weights] for task in model.output
        ]
        distances = [
            distance(tf.stack([tf.reshape(v.value, [-1]) for v in variables]))
            for variables in zip(*by_task, strict=True)
        ]
        return self.strength * tf.add_n(distances) if distances else tf.zeros([])


def _to_mean(rows):
    return tf.reduce_sum((rows - tf.reduce_mean(rows, 0)) ** 2)


def _between_pairs(rows):
    return rows.shape[0] * _to_mean(rows)


def _trace_norm(rows):
    """Return the sum of singular values of `rows` [T, D].

    With G = rows rows^T it is tr(G^1/2), and its derivative with respect to G is G^-1/2 / 2. This derivative stays
    finite where singular values coincide; the derivatives of a decomposition's factors do not.
    """
    gramian = tf.matmul(rows, rows, transpose_b=True)
    values, vectors = tf.linalg.eigh(tf.stop_gradient(gramian))
    smallest = 1e-6 * tf.reduce_max(values)
    roots = tf.sqrt(tf.maximum(values, smallest))
    inverse = tf.matmul(vectors * tf.math.divide_no_nan(0.5, roots), vectors, transpose_b=True)
    linear = tf.reduce_sum(inverse * gramian)
    return tf.stop_gradient(tf.reduce_sum(tf.sqrt(tf.maximum(values, 0))) - linear) + linear


_DISTANCES = {"mean": _to_mean, "pairs": _between_pairs, "trace_norm": _trace_norm}
