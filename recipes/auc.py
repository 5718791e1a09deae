"""The area under the ROC curve."""

import numpy as np


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the ROC curve: the fraction of (positive, negative) pairs in order, ties counting half."""
    _, index, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[index]
    is_positive = labels > 0
    pairs_in_order = ranks[is_positive].sum() - is_positive.sum() * (is_positive.sum() + 1) / 2
    return float(pairs_in_order / is_positive.sum() / (~is_positive).sum())
