"""How well questions find the sentences that answer them, among all sentences."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

import tf_mtl as mtl

RANKS = (1, 10)


def recalls(scores: np.ndarray, answers: Sequence[int]) -> dict[str, float]:
    """Return recall@1, recall@10 and the mean reciprocal rank; sentences with an answer's score rank before it.

    Args:
        scores: The score of each sentence for each question, [Q, S].
        answers: The number of the sentence that answers each question, [Q].
    """
    own = scores[np.arange(len(scores)), answers]
    ranks = (scores >= own[:, None] - 1e-6).sum(1)
    return {**{f"recall@{k}": float(np.mean(ranks <= k)) for k in RANKS}, "mrr": float(np.mean(1 / ranks))}


def bm25(questions: Sequence[str], sentences: Sequence[str], k: float = 1.2, b: float = 0.75) -> np.ndarray:
    """Return the BM25 scores [Q, S] of sentences for questions (Robertson & Zaragoza, 2009).

    Args:
        questions: The questions.
        sentences: The sentences, which also give the frequencies of words.
        k: How fast repeated words lose weight.
        b: How much long sentences lose.
    """
    counts = [Counter(words) for words in _words(sentences)]
    lengths = np.array([sum(count.values()) for count in counts])
    containing = Counter(word for count in counts for word in count)
    norms = k * (1 - b + b * lengths / lengths.mean())
    columns: dict[str, np.ndarray] = {}

    def scores_of(word):
        if word not in columns:
            frequencies = np.array([count[word] for count in counts])
            rarity = math.log(1 + (len(counts) - containing[word] + 0.5) / (containing[word] + 0.5))
            columns[word] = rarity * frequencies * (k + 1) / (frequencies + norms)
        return columns[word]

    return np.array([sum(map(scores_of, words), np.zeros(len(counts))) for words in _words(questions)])


def table(results: Mapping[str, Mapping[str, float]]) -> str:
    """Return a table with a row for each way to rank."""
    names = [*(f"recall@{k}" for k in RANKS), "mrr"]
    return mtl.report.table(["ranked by", *names], [[way, *(row[n] for n in names)] for way, row in results.items()])


def _words(texts):
    return [
        [word.decode().lower() for word in words]
        for words in mtl.text.TextPreprocessor.split(list(texts)).words.to_list()
    ]
