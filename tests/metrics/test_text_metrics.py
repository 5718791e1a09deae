"""Bleu and ChrF compared with sacrebleu, RougeL with rouge_score, on odd texts, in batches and on two replicas."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

import tf_mtl as mtl
from tf_mtl.metrics import Bleu, ChrF, RougeL

TEXTS = json.loads((Path(__file__).parent / "texts.json").read_text())
ASCII, OTHERS = TEXTS["ascii_words"].split(), TEXTS["other_words"].split()
BLANKS = [" "] * 8 + ["  ", "\t", "\n", "-\n", "", "\u00a0", "\u3000", "\r\n", "\x1c"]


def random_texts(rng, pieces, rows=300):
    """References and hypotheses, which keep, drop, replace or repeat each word of their reference, or share none."""

    def text(words):
        return "".join(f"{word}{rng.choice(BLANKS)}" for word in words)

    references, hypotheses = [], []
    for _ in range(rows):
        words = rng.choice(pieces, rng.choice([0, 1, 2, 3, 4, 12])).tolist()
        changed = []
        for word in words:
            changes = [word], [word], [word], [], [rng.choice(pieces)], [word, word]
            changed += changes[rng.integers(len(changes))]
        references.append(text(words))
        hypotheses.append(text(changed if rng.random() < 0.8 else rng.choice(pieces, rng.integers(6))))
    return references, hypotheses


def bleu(references, hypotheses):
    return BLEU(force=True).corpus_score(hypotheses, [references]).score


def chrf(references, hypotheses):
    return CHRF().corpus_score(hypotheses, [references]).score


def rouge_l(references, hypotheses):
    scorer = RougeScorer(["rougeL"])
    return 100 * np.mean(
        [scorer.score(*texts)["rougeL"].fmeasure for texts in zip(references, hypotheses, strict=True)]
    )


REFERENCE = {Bleu: bleu, ChrF: chrf, RougeL: rouge_l}
METRICS = pytest.mark.parametrize("metric", REFERENCE)


def result(metric, *texts):
    """The result of new texts, in float64, which differs from the references' by rounding only."""
    metric = metric(dtype="float64")
    metric.update_state(*texts)
    return float(metric.result())


def close(value):
    return pytest.approx(value, rel=1e-9, abs=1e-12)


def test_figures_of_the_fixture():
    texts = TEXTS["references"], TEXTS["hypotheses"]
    assert result(Bleu, *texts) == pytest.approx(TEXTS["bleu"], abs=1e-4)
    assert result(ChrF, *texts) == pytest.approx(TEXTS["chrf"], abs=1e-4)
    assert result(RougeL, *texts) == close(rouge_l(*texts))


@METRICS
@pytest.mark.parametrize("seed", range(5))
def test_equals_the_reference(metric, seed):
    pieces = ASCII if metric is RougeL else ASCII + OTHERS
    texts = random_texts(np.random.default_rng(seed), pieces)
    expected = REFERENCE[metric](*texts)
    assert 10 < expected < 90
    assert result(metric, *texts) == close(expected)
    for reference, hypothesis in zip(*texts, strict=True):
        expected = REFERENCE[metric]([reference], [hypothesis])
        assert result(metric, [reference], [hypothesis]) == close(expected), (reference, hypothesis)
    float32 = metric()
    float32.update_state(*texts)
    assert float32.result().dtype == tf.float32
    assert float(float32.result()) == np.float32(result(metric, *texts))


@METRICS
@pytest.mark.parametrize(
    ("reference", "hypothesis"),
    [
        ("", ""),
        (" ", "\n"),
        ("", "the cat sat on a mat"),
        ("the cat sat on a mat", ""),
        ("the cat sat on a mat", "dull grey fog hung"),
        ("cat", "cat"),
        ("cat", "Cat"),
        ("the cat sat on", "the cat sat on"),
        ("the cat sat on a mat", "the cat on sat mat a"),
        ("the cat sat on a mat", "the the the the the the the"),
        ("...", "!!!"),
        ("a" * 300, "a" * 200),
        ("the cat " * 100, "cat the " * 90),
    ],
)
def test_special_texts(metric, reference, hypothesis):
    assert result(metric, [reference], [hypothesis]) == close(REFERENCE[metric]([reference], [hypothesis]))
    expected = REFERENCE[metric]([reference, "one two three four five"], [hypothesis, "one two three four six"])
    assert result(metric, [reference, "one two three four five"], [hypothesis, "one two three four six"]) == close(
        expected
    )


def test_rouge_l_of_other_languages():
    """Their words count whole: as those of ASCII texts that have another word in the place of each."""
    texts = random_texts(np.random.default_rng(0), OTHERS)
    whole = {}

    def as_ascii(text):
        words = re.split(r"[^\w\u0300-\u036f\u0900-\u097f]+|_", text.lower())
        return " ".join(whole.setdefault(word, f"w{len(whole)}") for word in words if word)

    expected = rouge_l(*([as_ascii(text) for text in column] for column in texts))
    assert 10 < expected < 90
    assert result(RougeL, *texts) == close(expected)
    assert result(RougeL, ["Größe", "हिन्दी भाषा"], ["große", "हिन्दी"]) == close(100 / 3)


def update_in_batches(metric, texts, update=None):
    update = update or metric.update_state
    for begin, end in ((0, 1), (1, 1), (1, 120), (120, 300)):
        update(*(tf.constant(column[begin:end], tf.string) for column in texts))
    return float(metric.result())


@METRICS
def test_batches_and_graphs(metric):
    texts = random_texts(np.random.default_rng(1), ASCII + OTHERS)
    expected = result(metric, *texts)
    batched = metric(dtype="float64")
    assert update_in_batches(batched, texts) == close(expected)
    batched.reset_state()
    assert float(batched.result()) == 0
    column = tf.TensorSpec([None], tf.string)
    assert update_in_batches(batched, texts, tf.function(batched.update_state, [column, column])) == close(expected)
    assert float(tf.function(batched.result)()) == close(expected)
    columns = [np.array(column)[:, None] for column in texts]  # [B, 1]
    assert result(metric, *columns) == close(expected)


@METRICS
def test_weights(metric):
    references, hypotheses = random_texts(np.random.default_rng(2), ASCII + OTHERS)
    weights = np.arange(300) % 3 / 2  # 0, 0.5 and 1
    expected = result(metric, *([texts[i] for i in np.flatnonzero(weights)] for texts in (references, hypotheses)))
    assert abs(expected - result(metric, references, hypotheses)) > 0.01
    assert result(metric, references, hypotheses, weights) == close(expected)
    assert result(metric, references, hypotheses, tf.constant(weights[:, None], tf.float32)) == close(expected)
    assert result(metric, references, hypotheses, np.zeros(300)) == 0


@METRICS
def test_two_replicas_equal_one(metric):
    texts = random_texts(np.random.default_rng(3), ASCII + OTHERS)
    strategy = mtl.distribute.strategy("mirrored")
    with strategy.scope():
        distributed = metric()
    assert strategy.num_replicas_in_sync == 2

    @tf.function
    def run(*texts):
        strategy.run(distributed.update_state, texts)

    for begin, middle, end in ((0, 1, 1), (1, 140, 150), (150, 151, 300)):  # the second replica's batch may be empty
        parts = (slice(begin, middle), slice(middle, end))
        run(
            *(
                strategy.experimental_distribute_values_from_function(
                    lambda context, column=column, parts=parts: tf.constant(
                        column[parts[context.replica_id_in_sync_group]], tf.string
                    )
                )
                for column in texts
            )
        )
    single = metric()
    single.update_state(*texts)
    assert float(single.result()) > 20
    assert float(distributed.result()) == float(single.result())
    np.testing.assert_allclose(distributed.sums.numpy(), single.sums.numpy(), rtol=1e-14)  # sums of F1 are rounded


@METRICS
def test_bytes_that_are_no_text(metric):
    """They count as the character that stands for them."""
    expected = result(metric, ["a b c d x\ufffdy"], ["a b c d xy"])
    assert expected < 100
    assert result(metric, [b"a b c d x\xffy"], ["a b c d xy"]) == close(expected)


@METRICS
def test_counts_beyond_float32(metric):
    """Three texts more change sums that float32 could no longer change."""
    texts = ["the cat sat on a mat"] * 3
    counter = metric()
    counter.sums.assign(np.full(counter.sums.shape, 2.0**30))
    before = counter.sums.numpy()
    counter.update_state(texts, texts)
    assert (counter.sums.numpy() - before).min() >= 3


@METRICS
def test_configuration_and_no_texts(metric):
    assert float(metric().result()) == 0
    assert result(metric, tf.zeros([0], tf.string), tf.zeros([0], tf.string)) == 0
    assert metric().name == {Bleu: "bleu", ChrF: "chrf", RougeL: "rouge_l"}[metric]
    assert metric._direction == "up"
    named = metric(name="texts", dtype="float64")
    assert metric.from_config(named.get_config()).get_config() == named.get_config()
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(named))
    assert (type(restored), restored.name, restored.dtype) == (metric, "texts", "float64")


@METRICS
def test_arguments_that_are_refused(metric):
    with pytest.raises(ValueError, match=f"`y_pred` of {metric.__name__} must be strings, received int32"):
        metric().update_state(["a"], [1])
    with pytest.raises(ValueError, match=r"`y_pred` of \w+ must have as many rows as `y_true`, 1, received 2"):
        metric().update_state(["a"], ["a", "b"])
    with pytest.raises(ValueError, match=r"`sample_weight` of \w+ must have as many rows as `y_true`, 2, received 1"):
        metric().update_state(["a", "b"], ["a", "b"], [1.0])
