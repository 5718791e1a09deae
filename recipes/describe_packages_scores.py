"""How good the answers about packages are, and what simple methods answer."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import describe_packages_data as data
import numpy as np

import tf_mtl as mtl

_WORDS, _CHUNK = 20_000, 1000


def scores(answers: Mapping[str, Sequence[Any]], packages: Sequence[data.Package]) -> dict[str, float]:
    """Return `{"<task>_<metric>": value}`, over the packages that have a label.

    Args:
        answers: A text, a section or a list of tags for each package, by task.
        packages: The packages.
    """
    results = {}
    for task, given in answers.items():
        labels = [data.label(package, task) for package in packages]
        pairs = [pair for pair in zip(labels, given, strict=True) if pair[0] not in data.MISSING]
        if task == "section":
            results["section_accuracy"] = sum(label == answer for label, answer in pairs) / max(1, len(pairs))
        elif task == "tags":
            common = sum(len({*label} & {*answer}) for label, answer in pairs)
            results["tags_micro_f1"] = 2 * common / max(1, sum(len(label) + len(answer) for label, answer in pairs))
        else:
            metric = mtl.metrics.RougeL()
            if pairs:
                metric.update_state(*zip(*pairs, strict=True))
            results[f"{task}_{metric.name}"] = float(metric.result())
    return results


def simple_answers(packages: data.Packages) -> dict[str, list[Any]]:
    """Return answers about the test packages without a network.

    Summaries are the first words of the first sentence of the description, as many as the median summary has. Sections
    and tags have centroids, the mean TF-IDF vectors of their descriptions: the answer is the section whose centroid is
    nearest by the cosine, and the tags whose cosine is as high as that of as many training packages as have the tag.
    """
    train, test = packages.parts["train"], packages.parts["test"]
    words = int(np.median([len(package.summary.split()) for package in train]))
    summaries = [" ".join(data.first_sentence(package.text).split()[:words]) for package in test]
    tagged = data.labelled(train, "tags")
    idf = _idf(train)

    members = np.array([[package.section == section for section in packages.sections] for package in train])
    nearest = _cosines(test, _centroids(train, members, idf), idf).argmax(1)

    members = np.array([[tag in package.tags for tag in packages.tags] for package in tagged])
    centroids = _centroids(tagged, members, idf)
    known = np.sort(_cosines(tagged, centroids, idf), 0)[::-1]
    thresholds = known[np.maximum(members.sum(0), 1) - 1, np.arange(len(packages.tags))]
    tags = [
        [tag for tag, is_near in zip(packages.tags, row, strict=True) if is_near]
        for row in _cosines(test, centroids, idf) >= thresholds
    ]
    return {"summary": summaries, "section": [packages.sections[i] for i in nearest], "tags": tags}


def _counts(package: data.Package) -> Counter[str]:
    return Counter(re.findall(r"\w+", package.text.lower()))


def _idf(packages: Sequence[data.Package]) -> dict[str, float]:
    """Return the inverse document frequency of the most frequent words."""
    counts = Counter(word for package in packages for word in _counts(package))
    return {word: math.log(len(packages) / count) for word, count in counts.most_common(_WORDS)}


def _vectors(packages: Sequence[data.Package], idf: Mapping[str, float]) -> np.ndarray:
    """Return TF-IDF vectors [N, words] of length 1."""
    places = {word: place for place, word in enumerate(idf)}
    x = np.zeros((len(packages), len(idf)), "float32")
    for row, package in zip(x, packages, strict=True):
        for word, count in _counts(package).items():
            if word in places:
                row[places[word]] = (1 + math.log(count)) * idf[word]
    return _unit(x)


def _centroids(packages: Sequence[data.Package], members: np.ndarray, idf: Mapping[str, float]) -> np.ndarray:
    """Return the centroids [C, words] of the classes whose `members` [N, C] are given."""
    sums = np.zeros((members.shape[1], len(idf)), "float32")
    for i in range(0, len(packages), _CHUNK):
        sums += members[i : i + _CHUNK].T.astype("float32") @ _vectors(packages[i : i + _CHUNK], idf)
    return _unit(sums)


def _cosines(packages: Sequence[data.Package], centroids: np.ndarray, idf: Mapping[str, float]) -> np.ndarray:
    """Return the cosines [N, C] of descriptions and centroids."""
    chunks = [packages[i : i + _CHUNK] for i in range(0, len(packages), _CHUNK)]
    return np.concatenate([_vectors(chunk, idf) @ centroids.T for chunk in chunks])


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)
