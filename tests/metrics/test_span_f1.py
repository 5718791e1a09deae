"""SpanF1 compared with seqeval, on legal, malformed and partly labelled tags."""

import keras
import numpy as np
import pytest
from seqeval.metrics import classification_report, f1_score
from seqeval.metrics.sequence_labeling import get_entities

from tf_mtl._bio import Bio
from tf_mtl.metrics import SpanF1

TAGS = ["O", "B-a", "I-a", "I-b", "B-b", "B-c"]  # not sorted, and the type c has no I- tag


def sentences(seed, rows=60, words=9):
    """Return true tags, predicted tags that often agree with them, the sentences' lengths, and the words' weights."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, len(TAGS), (rows, words))
    predicted = np.where(rng.random((rows, words)) < 0.8, true, rng.integers(0, len(TAGS), (rows, words)))
    lengths = rng.integers(0, words + 1, rows)
    return true, predicted, lengths, (np.arange(words) < lengths[:, None]).astype("float32")


def names(tags, lengths):
    return [[TAGS[tag] for tag in row[:length]] for row, length in zip(tags, lengths, strict=True)]


@pytest.mark.parametrize("seed", range(5))
def test_equals_seqeval_over_several_batches(seed):
    true, predicted, lengths, weight = sentences(seed)
    metric = SpanF1(TAGS, per_type=True)
    for rows in (slice(0, 7), slice(7, 60)):
        metric.update_state(true[rows], np.eye(len(TAGS))[predicted[rows]], sample_weight=weight[rows])
    results = {name: float(value) for name, value in metric.result().items()}
    true_tags, predicted_tags = names(true, lengths), names(predicted, lengths)
    report = classification_report(true_tags, predicted_tags, output_dict=True, zero_division=0)
    expected = {
        "span_f1": f1_score(true_tags, predicted_tags),
        **{f"span_f1_{k}": report[k]["f1-score"] for k in "abc"},
    }
    assert results == pytest.approx(expected, abs=1e-6)
    assert 0.2 < results["span_f1"] < 0.9


def test_words_without_a_label_count_as_outside():
    tags = np.array([[1, 2, 2, 4]])
    metric = SpanF1(TAGS)
    metric.update_state(tags, np.eye(len(TAGS))[[[1, 2, 0, 4]]], sample_weight=np.array([[1, 1, 0, 1]]))
    assert float(metric.result()) == 1.0
    metric.reset_state()
    metric.update_state(tags, np.eye(len(TAGS))[[[0, 0, 0, 0]]], sample_weight=np.array([0.0]))
    assert float(metric.result()) == 0.0
    assert float(metric.labelled.numpy().sum()) == 0


def test_config():
    metric = SpanF1(TAGS, per_type=True, name="f1")
    restored = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert restored.get_config() == metric.get_config()
    assert set(restored.result()) == {"f1", "f1_a", "f1_b", "f1_c"}


@pytest.mark.parametrize("seed", range(5))
def test_spans_equal_seqeval(seed):
    tags, _, _, _ = sentences(seed)
    spans = Bio(TAGS, "test").spans(tags)
    for row, (starts, lengths, types) in enumerate(zip(*(x.numpy() for x in spans[:3]), strict=True)):
        expected = [("abc".index(kind), first, last) for kind, first, last in get_entities(names(tags, [9] * 60)[row])]
        positions = np.flatnonzero(starts)
        assert [(types[p], p, p + lengths[p] - 1) for p in positions] == expected


def test_which_tag_may_follow_which():
    bio = Bio(TAGS, "test")
    follows = {(a, b) for i, a in enumerate(TAGS) for j, b in enumerate(TAGS) if bio.allowed[i, j]}
    anything = {"O", "B-a", "B-b", "B-c"}
    legal = {(a, b) for a in TAGS for b in anything} | {(f"{p}-{t}", f"I-{t}") for p in "BI" for t in "ab"}
    assert follows == legal
    assert {tag for tag, first in zip(TAGS, bio.allowed_first, strict=True) if first} == anything


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["B-a", "I-a"], "'O'"),
        (["O", "a"], "received .a."),
        (["O", "B-"], "received .B-."),
        (["O", "S-a"], "received .S-a."),
        (["O", "I-a"], "'I-a' without 'B-a'"),
    ],
)
def test_labels_that_are_not_bio_tags(labels, message):
    with pytest.raises(ValueError, match=message):
        SpanF1(labels)
