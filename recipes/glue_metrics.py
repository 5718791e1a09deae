"""GLUE's metrics of its tasks, on a development set."""

import keras
import numpy as np
import tensorflow as tf

import tf_mtl as mtl

METRICS = {
    "cola": ("mcc",),
    "sst2": ("accuracy",),
    "mrpc": ("accuracy", "f1"),
    "stsb": ("pearson", "spearman"),
    "rte": ("accuracy",),
}


def scores(model: keras.Model, batches: tf.data.Dataset, task: str) -> dict[str, float]:
    """Return a model's metrics of a task, `{"<task>_<metric>": value}`.

    Args:
        model: A model of this task, alone or with others.
        batches: The development set.
        task: The task's name.
    """
    pairs = [(labels[task], model.predict_on_batch(inputs)[task]) for inputs, labels, _ in batches]
    labels, outputs = (np.concatenate(values) for values in zip(*pairs, strict=True))
    return {f"{task}_{metric}": _FUNCTIONS[metric](labels, outputs) for metric in METRICS[task]}


def accuracy(labels: np.ndarray, outputs: np.ndarray) -> float:
    """Return the fraction of rows [B] whose label has the largest of the logits [B, C]."""
    return float(np.mean(outputs.argmax(-1) == labels))


def f1(labels: np.ndarray, outputs: np.ndarray) -> float:
    """Return 2 TP / (2 TP + FP + FN) of class 1, from labels [B] and logits [B, 2]; 0 if it never occurs."""
    positive, predicted = labels == 1, outputs.argmax(-1) == 1
    return float(2 * np.sum(positive & predicted) / max(np.sum(positive) + np.sum(predicted), 1))


def matthews(labels: np.ndarray, outputs: np.ndarray) -> float:
    """Return Matthews' correlation coefficient of labels [B] and logits [B, 2], 0 if all rows are alike in one of them.

    For two classes it is Pearson's correlation of labels and predictions.
    """
    return pearson(labels, outputs.argmax(-1))


def pearson(labels: np.ndarray, outputs: np.ndarray) -> float:
    """Return Pearson's correlation of labels [B] and outputs [B] or [B, 1]."""
    metric = mtl.metrics.Pearson()
    metric.update_state(labels.astype("float32"), outputs.reshape(-1, 1).astype("float32"))
    return float(metric.result())


def spearman(labels: np.ndarray, outputs: np.ndarray) -> float:
    """Return Spearman's correlation, Pearson's of the ranks; exact, which `mtl.metrics.Spearman` is not."""
    return pearson(_ranks(labels), _ranks(outputs.ravel()))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks of values [B]; equal ones have the mean of theirs."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[index]


_FUNCTIONS = {"accuracy": accuracy, "f1": f1, "mcc": matthews, "pearson": pearson, "spearman": spearman}
