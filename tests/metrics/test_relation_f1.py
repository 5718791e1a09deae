"""RelationF1 by hand, and compared with sets of relations between spans."""

import numpy as np
import pytest

import tf_mtl as mtl

TAGS = ["O", "B-a", "I-a", "B-b"]


def relations(*cells, words=4):
    labels = np.zeros((1, words, words, 2), "float32")
    for cell in cells:
        labels[(0, *cell)] = 1
    return labels


def logits(*cells):
    return 10 * relations(*cells) - 5


def f1(true_tags, true, predicted_tags, predicted, tag_weight=None, weight=None, average="micro"):
    metric = mtl.metrics.RelationF1(TAGS, 2, average=average)
    labels = {"entities": (np.array([true_tags]), tag_weight), "relations": (relations(*true), weight)}
    predictions = {"entities": np.eye(4)[[predicted_tags]], "relations": logits(*predicted)}
    metric.update_state(labels, predictions)
    return float(metric.result())


def test_by_hand():
    tags = [1, 2, 0, 3]  # a span of type a ends with word 1, one of type b with word 3
    relation = (1, 3, 0)
    assert f1(tags, [relation], tags, [relation]) == 1
    assert f1(tags, [relation], tags, [(3, 1, 0)]) == 0  # the other direction
    assert f1(tags, [relation], tags, [(1, 3, 1)]) == 0  # another relation
    assert f1(tags, [relation], [0, 1, 0, 3], [relation]) == 0  # another first word
    assert f1(tags, [relation], [1, 2, 0, 1], [relation]) == 0  # another type
    assert f1(tags, [relation], tags, [relation, (0, 3, 0), (2, 3, 1)]) == 1  # words that end no entity
    assert f1(tags, [relation, (3, 1, 1)], tags, [relation]) == pytest.approx(2 / 3)
    assert f1(tags, [relation, (3, 1, 1)], tags, [relation], average="macro") == pytest.approx(1 / 2)
    assert f1(tags, [relation], [0, 0, 0, 0], [relation]) == 0
    assert f1([0] * 4, [], [0] * 4, [relation]) == 0


def test_weights():
    tags, relation, other = [1, 2, 0, 3], (1, 3, 0), (3, 1, 1)
    for weight in (np.array([0.0]), np.zeros((1, 4, 4))):
        assert f1(tags, [relation], tags, [relation], weight=weight) == 0
    cells = np.full((1, 4, 4, 2), 0.5, "float32")
    cells[0, 3, 1, 1] = 0
    assert f1(tags, [relation, other], tags, [relation], weight=cells) == 1
    for tag_weight, expected in (([0.0], 0), ([[1.0, 1.0, 0.0, 1.0]], 1), ([[1.0, 1.0, 1.0, 0.0]], 0)):
        assert f1(tags, [relation], tags, [relation], tag_weight=np.array(tag_weight)) == expected
    tags, both = [1, 2, 3, 3], [(1, 2, 0), (1, 3, 0)]
    assert f1(tags, both, tags, both, tag_weight=np.array([[1.0, 1.0, 1.0, 0.0]])) == 1  # the second does not count


def spans_of(tags):
    """{last word: (first word, type)}."""
    spans = {}
    for end, tag in enumerate(tags):
        if tag and not (end + 1 < len(tags) and tags[end + 1] == 2 and tag in (1, 2)):
            begin = end
            while tags[begin] == 2 and begin and tags[begin - 1] in (1, 2):
                begin -= 1
            spans[end] = (begin, tag == 3)
    return spans


def test_equals_sets_over_batches():
    rng = np.random.default_rng(0)
    true_tags = rng.integers(0, 4, (60, 6))
    changed = rng.random((60, 6)) < 0.2
    predicted_tags = np.where(changed, rng.integers(0, 4, (60, 6)), true_tags)
    true = (rng.random((60, 6, 6, 2)) < 0.5).astype("int32")
    for row, tags in enumerate(true_tags):  # relations are between entities
        is_end = np.isin(np.arange(6), list(spans_of(tags)))
        true[row] *= (is_end[:, None] & is_end)[..., None]
    scores = np.where(true, 1, -1) * np.where(rng.random(true.shape) < 0.8, 1.0, -1.0)
    weight = (rng.random(60) < 0.8).astype("float32")
    metrics = {average: mtl.metrics.RelationF1(TAGS, 2, average=average) for average in ("micro", "macro")}
    for rows in (slice(0, 25), slice(25, 60)):
        labels = {"entities": (true_tags[rows], None), "relations": (true[rows], weight[rows])}
        predictions = {"entities": np.eye(4)[predicted_tags[rows]], "relations": scores[rows]}
        for metric in metrics.values():
            metric.update_state(labels, predictions)
    sets = [[set(), set()], [set(), set()]]
    for kind, (tags, cells) in enumerate([(true_tags, true > 0), (predicted_tags, scores > 0)]):
        for row, i, j, r in np.argwhere(cells):
            spans = spans_of(tags[row])
            if weight[row] and i in spans and j in spans:
                sets[r][kind].add((row, i, *spans[i], j, *spans[j]))
    counts = np.array([[len(a & b), len(a) + len(b)] for a, b in sets])
    right, total = counts.sum(0)
    assert 0 < right < total / 2
    assert float(metrics["micro"].result()) == pytest.approx(2 * right / total)
    assert float(metrics["macro"].result()) == pytest.approx((2 * counts[:, 0] / counts[:, 1]).mean())


def test_config_and_errors():
    metric = mtl.metrics.RelationF1(TAGS, 2, "e", "r", "macro", 0.3)
    copy = mtl.metrics.RelationF1.from_config(metric.get_config())
    assert copy.get_config() == metric.get_config()
    assert (copy.tasks, copy.name, copy.threshold) == (["e", "r"], "relation_macro_f1", 0.3)
    with pytest.raises(ValueError, match="`average` must be"):
        mtl.metrics.RelationF1(TAGS, 2, average="all")
    with pytest.raises(ValueError, match="BIO tags"):
        mtl.metrics.RelationF1(["x"], 2)
