"""Metrics compared with SciPy and NumPy, over batches and with weights."""

import numpy as np
import pytest
from scipy import stats

import tf_mtl as mtl


def data(rows=500, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=rows)
    return y, 0.6 * y + rng.normal(size=rows), (rng.random(rows) < 0.7).astype("float32")


def result(metric, y, p, weight=None, batch=64):
    for i in range(0, len(y), batch):
        batch_rows = slice(i, i + batch)
        metric.update_state(y[batch_rows], p[batch_rows], sample_weight=None if weight is None else weight[batch_rows])
    return float(metric.result())


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_pearson(offset):
    y, p, weight = data()
    y, p = (y + offset).astype("float32"), (p + offset).astype("float32")
    assert result(mtl.metrics.Pearson(), y, p[:, None]) == pytest.approx(stats.pearsonr(y, p)[0], abs=1e-5)
    rows = weight > 0
    expected = stats.pearsonr(y[rows], p[rows])[0]
    assert result(mtl.metrics.Pearson(), y, p[:, None], weight) == pytest.approx(expected, abs=1e-5)


def test_spearman_of_values_on_its_grid_is_exact():
    y, p, weight = data()
    y, p = np.round(y, 1), np.round(p, 1)  # many ties

    def metric():
        return mtl.metrics.Spearman(-6.05, 6.75, bins=128)

    assert result(metric(), y, p[:, None]) == pytest.approx(stats.spearmanr(y, p)[0], abs=1e-5)
    rows = weight > 0
    expected = stats.spearmanr(y[rows], p[rows])[0]
    assert result(metric(), y, p[:, None], weight) == pytest.approx(expected, abs=1e-5)


def test_spearman_of_continuous_values_is_close():
    y, p, _ = data(3000)
    assert result(mtl.metrics.Spearman(-5, 5), y, p) == pytest.approx(stats.spearmanr(y, p)[0], abs=2e-4)


@pytest.mark.parametrize("metric", [mtl.metrics.Pearson, lambda: mtl.metrics.Spearman(0, 9)])
def test_the_correlation_is_0_without_variance_or_rows(metric):
    assert result(metric(), np.ones(5), np.arange(5.0)) == 0
    assert float(metric().result()) == 0


def f1(true, predicted):
    tp, fp, fn = ((a & b).sum() for a, b in ((true, predicted), (~true, predicted), (true, ~predicted)))
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0


def test_macro_f1():
    rng = np.random.default_rng(0)
    y, scores = rng.integers(0, 4, 200), rng.normal(size=(200, 4))
    y[y == 3] = 2  # a class that is predicted but never a label
    weight = (rng.random(200) < 0.5).astype("float32")
    predicted = scores.argmax(1)
    expected = np.mean([f1(y == c, predicted == c) for c in range(4)])
    assert result(mtl.metrics.MacroF1(4), y, scores) == pytest.approx(expected, rel=1e-5)
    rows = weight > 0
    expected = np.mean([f1(y[rows] == c, predicted[rows] == c) for c in range(4)])
    assert result(mtl.metrics.MacroF1(4), y[:, None], scores, weight) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_multi_label_f1(average):
    rng = np.random.default_rng(0)
    y, logits = rng.integers(0, 2, (100, 3)), rng.normal(size=(100, 3))
    cells = rng.random((100, 3)) < 0.5
    true, predicted = y == 1, 1 / (1 + np.exp(-logits)) >= 0.4
    expected = (
        f1(true[cells], predicted[cells])
        if average == "micro"
        else np.mean([f1(true[cells[:, c], c], predicted[cells[:, c], c]) for c in range(3)])
    )
    metric = mtl.metrics.MultiLabelF1(3, average, threshold=0.4)
    assert metric.name == f"{average}_f1"
    assert result(metric, y, logits, cells.astype("float32")) == pytest.approx(expected, rel=1e-5)
    metric.reset_state()
    rows = cells[:, 0]
    expected = (
        f1(true[rows], predicted[rows])
        if average == "micro"
        else np.mean([f1(true[rows, c], predicted[rows, c]) for c in range(3)])
    )
    assert result(metric, y, logits, rows.astype("float32")) == pytest.approx(expected, rel=1e-5)


def test_binary_accuracy_of_logits():
    metric = mtl.metrics.LogitsBinaryAccuracy(threshold=0.7)
    y, z = np.array([[1.0], [1.0], [0.0], [0.0]]), np.array([[2.0], [0.5], [0.5], [1.0]])
    assert result(metric, y, z) == pytest.approx(0.5)  # a probability of 0.7 is a logit of 0.847
    default_metric = mtl.metrics.LogitsBinaryAccuracy()
    # The probability 0.5 predicts class 1, as in `decode`.
    assert result(default_metric, np.array([[1.0], [0.0]]), np.zeros((2, 1))) == 0.5
    assert mtl.tasks.BinaryClassification("t").decode(np.zeros((1, 1)))["label"].numpy() == [b"yes"]


@pytest.mark.parametrize(
    "metric",
    [
        mtl.metrics.Pearson(name="r"),
        mtl.metrics.Spearman(0, 1, bins=8),
        mtl.metrics.MacroF1(4),
        mtl.metrics.MultiLabelF1(3, "macro", 0.2),
        mtl.metrics.LogitsBinaryAccuracy(threshold=0.2),
    ],
)
def test_configs(metric):
    restored = type(metric).from_config(metric.get_config())
    assert restored.get_config() == metric.get_config()
