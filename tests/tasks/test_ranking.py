"""Ranking: known answers, brute force, masks and weights, replicas, files, answers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl._engine.masked_losses import weighted_sums

# From scikit-learn (NDCG) and NumPy (the rest); NDCG's gain is the relevance.
RELEVANCE = [
    [0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
    [0, 1, 0, 2, 2, 3, 2, 0, 3, 0],
    [3, 2, 1, 1, 1, 0, 3, 1, 3, 0],
    [2, 1, 3, 0, 3, 0, 0, 0, 1, 1],
    [1, 0, 2, 1, 1, 2, 0, 1, 3, 3],
    [0, 3, 3, 1, 3, 0, 3, 3, 2, 0],
]
SCORES = [
    [1.5553, -0.3915, 3.7516, -0.036, -0.3989, 0.5678, 0.7272, 0.5156, -0.6797, 1.4438],
    [0.0258, 1.5105, 1.3666, -1.2989, -1.0043, -1.0242, 0.2271, 0.0321, 0.2476, -0.8327],
    [0.4071, 1.3851, -1.3536, -0.2138, 0.231, -0.1471, -0.2141, 1.7523, 1.2671, 0.8334],
    [-0.7772, 2.2256, 0.3459, -0.593, -0.3524, -0.5043, 2.1065, 0.1912, 0.0493, -2.1666],
    [0.7238, -1.0715, -1.143, 0.5996, -0.8764, 0.8228, 1.1089, -1.8024, -0.1491, -1.5868],
    [-0.0749, 0.8992, -1.3768, 1.7892, -0.3246, -1.1976, -0.1393, 0.7768, -1.3929, -0.0143],
]
KNOWN = {"ndcg": 0.663416, "ndcg@5": 0.41452, "mrr": 0.77381, "map": 0.654832}


def metrics_of(*batches, k=5):
    metrics = mtl.tasks.Ranking("r", k=k).metrics()
    for metric in metrics:
        for batch in batches:
            metric.update_state(*batch)
    return {metric.name: float(metric.result()) for metric in metrics}


def test_known_metrics():
    import keras_rs

    values = metrics_of((np.array(RELEVANCE), np.array(SCORES)))
    assert {name: values[name] for name in KNOWN} == pytest.approx(KNOWN, abs=1e-5)
    exponential = mtl.metrics.RankingMetric(keras_rs.metrics.NDCG())
    exponential.update_state(RELEVANCE, SCORES)
    assert float(exponential.result()) == pytest.approx(0.600154, abs=1e-5)


def lists(rows=12, size=7, seed=0):
    """Relevances, scores and weights: one list without labels, one without a relevant candidate, one of one candidate.

    Candidates without a label have NaN or the highest relevance; padded ones have the score -1e9.
    """
    rng = np.random.default_rng(seed)
    relevance = rng.integers(0, 4, (rows, size)).astype("float32")
    scores = rng.normal(size=(rows, size)).astype("float32")
    weight = rng.choice([0.0, 0.5, 1.0, 3.0], (rows, size)).astype("float32")
    padded = np.arange(size) >= rng.integers(2, size + 1, (rows, 1))
    weight[0], relevance[1], padded[2, 1:], weight[2, 0] = 0, 0, True, 2
    relevance[weight == 0] = np.nan
    relevance[padded] = 9
    return relevance, np.where(padded, np.float32(-1e9), scores), weight


def labelled_candidates(relevance, scores, weight):
    """The arrays of each list with only the candidates that count."""
    for y, s, w in zip(relevance, scores, weight, strict=True):
        counts = (w > 0) & (s > -1e8)
        yield y[counts].astype("float64"), s[counts].astype("float64"), w[counts].astype("float64")


def softmax(y, s, w):
    log_p = s - np.log(np.exp(s).sum())
    return -(w * y * log_p).sum() / (w * y).sum() if y.any() else 0.0


def pairwise(y, s, w):
    pairs = [(w[i], np.log1p(np.exp(s[j] - s[i]))) for i in range(len(y)) for j in range(len(y)) if y[i] > y[j]]
    return sum(w * x for w, x in pairs) / sum(w for w, _ in pairs) if pairs else 0.0


def pointwise(y, s, w):
    return (w * (y - s) ** 2).sum() / w.sum()


LOSSES = {"softmax": softmax, "pairwise": pairwise, "pointwise": pointwise}


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_by_brute_force(loss):
    """A loss has one value per list, and the task's loss is their mean with the lists' weights."""
    relevance, scores, weight = lists()
    candidates = list(labelled_candidates(relevance, scores, weight))
    expected = [LOSSES[loss](*each) if len(each[0]) else 0.0 for each in candidates]
    task = mtl.tasks.Ranking("r", loss=loss)
    values = task.loss.call(relevance, scores, weight)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
    assert np.count_nonzero(expected) >= 7

    of_lists = np.array([w.mean() if len(w) else 0.0 for _, _, w in candidates])
    y = tf.where(weight > 0, relevance, -1)
    total, weights = weighted_sums("r", task.loss, y, scores, tf.where(scores > -1e8, weight, 0))
    np.testing.assert_allclose(total / weights, (of_lists * expected).sum() / of_lists.sum(), rtol=1e-5)


def brute_metrics(y, s, w, k):
    order = np.argsort(-s)
    y, w, relevant = y[order], w[order], y[order] >= 1
    n = len(y)
    discount = 1 / np.log2(np.arange(n) + 2)
    ideal = np.sort(y * w)[::-1]
    hits = np.cumsum(relevant) / np.arange(1, n + 1)
    ratio = [0.0, 0.0, 0.0, 0.0, 0.0]
    if relevant.any():
        ratio = [
            (y * w * discount).sum() / (ideal * discount).sum(),
            1 / (1 + relevant.argmax()),
            (w * hits * relevant).sum() / (w * relevant).sum(),
            (y * w * discount)[:k].sum() / (ideal * discount)[:k].sum(),
            relevant[:k].sum() / relevant.sum(),
        ]
    names = ("ndcg", "mrr", "map", f"ndcg@{k}", f"recall@{k}")
    return dict(zip(names, ratio, strict=True)) | {f"precision@{k}": relevant[:k].sum() / min(n, k)}


@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_by_brute_force_in_batches_of_any_size(weighted):
    relevance, scores, weight = lists(seed=3)
    weight = weight if weighted else (weight > 0).astype("float32")
    weight_of_lists, expected = [], []
    for y, s, w in labelled_candidates(relevance, scores, weight):
        if len(y):
            weight_of_lists.append(w.mean())
            expected.append(brute_metrics(y, s, w, k=3))
    means = {name: np.average([each[name] for each in expected], weights=weight_of_lists) for name in expected[0]}
    assert all(0.1 < value < 0.98 for value in means.values())
    data = relevance, scores, weight
    assert metrics_of(data, k=3) == pytest.approx(means, abs=1e-5)
    batches = [tuple(array[rows] for array in data) for rows in np.split(np.arange(12), [1, 2, 3, 8])]
    assert metrics_of(*batches, k=3) == pytest.approx(means, abs=1e-5)


def test_equal_scores_are_never_better():
    relevance, scores = np.array([[3, 0, 0, 0]]), np.zeros((1, 4), "float32")
    assert {metrics_of((relevance, scores))["mrr"] for _ in range(4)} == {0.25}


@pytest.mark.parametrize("loss", LOSSES)
def test_nan_is_never_hidden(loss):
    loss = mtl.tasks.Ranking("r", loss=loss).loss
    relevance, scores = np.array([[0.0, 0.0], [2.0, 1.0]]), np.array([[np.nan, 1.0], [0.0, 1.0]], "float32")
    assert np.isnan(loss.call(relevance, scores)[0])
    assert np.isnan(loss.call(relevance[::-1], scores)[0])
    assert np.isfinite(loss.call(relevance, scores, np.array([[0, 1], [1, 1]]))).all()


def encoder(inputs):
    """Candidates that are joined with their query, and the query as the pooled features."""
    query = keras.layers.Dense(6, name="query_vector")(inputs["query"])
    documents = keras.layers.Dense(6, name="documents_vector")(inputs["documents"])
    joined = keras.layers.Activation("tanh", name="joined")(documents * keras.ops.expand_dims(query, 1))
    features = {"candidates": joined, "candidates_mask": inputs["is_document"], "pooled": query}
    return keras.Model(inputs, features, name="pairs")


def ranked(*others, size=None, strategy="one_device", run_eagerly=False, **options):
    with mtl.distribute.strategy(strategy).scope():
        keras.utils.set_random_seed(0)
        inputs = {
            "query": keras.Input((3,), name="query"),
            "documents": keras.Input((size, 4), name="documents"),
            "is_document": keras.Input((size,), dtype="bool", name="is_document"),
        }
        tasks = [mtl.tasks.Ranking("r", **options), *others]
        model = mtl.build_model(inputs, mtl.trunks.HardSharing(encoder(inputs)), tasks)
        model.compile(keras.optimizers.Adam(0.02), jit_compile=False, run_eagerly=run_eagerly)
    return model


def data(rows=24, size=5):
    rng = np.random.default_rng(0)
    x = {
        "query": rng.normal(size=(rows, 3)).astype("float32"),
        "documents": rng.normal(size=(rows, size, 4)).astype("float32"),
        "is_document": np.arange(size) < rng.integers(min(2, size), size + 1, (rows, 1)),
    }
    score = (x["documents"][..., :3] * x["query"][:, None]).sum(-1)
    relevance = np.clip(np.round(score + 1), 0, 3).astype("float32")
    relevance[0] = 0
    return x, relevance


def fit(strategy, padding, missing, weight_of_missing):
    """Train with label weights per candidate, and lists without any label."""
    x, relevance = data()
    weight = np.random.default_rng(1).choice([0, 0, 1, 2], relevance.shape).astype("float32")
    weight[5] = 0
    x["documents"] = np.where(x["is_document"][..., None], x["documents"], np.float32(padding))
    relevance = np.where(weight > 0, relevance, missing)
    weight = np.where(weight > 0, weight, weight_of_missing)
    model = ranked(strategy=strategy, k=2)
    history = model.fit(
        x, {"r": relevance}, sample_weight={"r": weight}, batch_size=8, epochs=2, shuffle=False, verbose=0
    )
    return model, history.history


def test_two_replicas_and_what_padding_and_missing_labels_hold():
    one, history = fit("one_device", padding=0, missing=0, weight_of_missing=0)
    even = np.arange(5) % 2 == 0
    two, history_of_two = fit("mirrored", 7, missing=np.where(even, -1, np.nan), weight_of_missing=even)
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    names = {"loss", "r_loss", "r_ndcg", "r_mrr", "r_map", "r_ndcg@2", "r_precision@2", "r_recall@2"}
    assert history.keys() == history_of_two.keys() == names
    for name, values in history.items():
        np.testing.assert_allclose(values, history_of_two[name], atol=1e-5, err_msg=name)


def test_learns_saves_and_answers(tmp_path):
    (x, relevance), model = data(), ranked(hidden_units=6)
    history = model.fit(x, {"r": relevance}, batch_size=8, epochs=40, verbose=0).history
    has_relevant = ((relevance > 0) & x["is_document"]).any(1)
    assert history["r_ndcg"][-1] > 0.95 * has_relevant.mean() > history["r_ndcg"][0]
    scores, answer = model.predict(x, verbose=0)["r"], model.answer(x)["r"]
    np.testing.assert_array_equal(scores == -1e9, ~x["is_document"])
    for row in range(len(relevance)):
        valid = np.flatnonzero(x["is_document"][row])
        order = valid[np.argsort(-scores[row, valid])]
        np.testing.assert_array_equal(answer["order"][row], [*order, *[-1] * (5 - len(order))])
        np.testing.assert_allclose(answer["scores"][row], [*scores[row, order], *[0.0] * (5 - len(order))], rtol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0)["r"], scores)
    y = {"r": relevance}
    expected = model.evaluate(x, y, verbose=0, return_dict=True)
    assert loaded.evaluate(x, y, verbose=0, return_dict=True) == pytest.approx(expected, abs=1e-5)


def test_lists_of_one_candidate():
    (x, relevance), model = data(size=1), ranked(size=1, run_eagerly=True)
    for shape in ((24,), (24, 1), (24, 1, 1)):
        logs = model.evaluate(x, {"r": relevance.reshape(shape)}, verbose=0, return_dict=True)
        assert logs["r_loss"] == pytest.approx(0, abs=1e-6)
        assert logs["r_ndcg"] == pytest.approx(np.mean(relevance > 0), abs=1e-6)


def test_tasks_that_read_scores_and_teachers():
    """Scores are read at the candidates, and averaged over the real ones for a vector."""
    x, relevance = data()
    second = mtl.tasks.Ranking("second", after="r", loss="pointwise")
    model = ranked(second, mtl.tasks.Regression("mean", after={"r": "hidden"}), hidden_units=3, run_eagerly=True)
    y = {"r": relevance, "second": relevance, "mean": relevance.mean(1)}
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"]).all()
    moved = {**x, "documents": np.where(x["is_document"][..., None], x["documents"], np.float32(5))}
    for task, output in model.predict(moved, verbose=0).items():
        np.testing.assert_allclose(output, model.predict(x, verbose=0)[task], rtol=1e-5)

    student, teacher = ranked(), ranked()
    trainer = mtl.distill(student, {"r": teacher}, annealing_steps=5)
    trainer.compile("sgd", run_eagerly=True)
    weight = {"r": (relevance != 1).astype("float32")}
    loss = trainer.train_on_batch(x, {"r": relevance}, sample_weight=weight, return_dict=True)["r_loss"]
    scores = np.where(x["is_document"], teacher.predict(x, verbose=0)["r"], -np.inf)
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    entropy = -np.where(p > 0, p * np.log(np.maximum(p, 1e-30)), 0).sum(1)
    has_label = (x["is_document"] & (relevance != 1)).any(1)
    assert loss == pytest.approx(entropy[has_label].mean(), abs=1e-4)


def test_errors():
    with pytest.raises(ValueError, match="`loss` of task 'r' must be one of"):
        mtl.tasks.Ranking("r", loss="list")
    with pytest.raises(ValueError, match="`k` must be"):
        mtl.tasks.Ranking("r", k=0)
    with pytest.raises(ValueError, match=r"Task 'r' reads candidates \[B, N, D\], but features\['pooled'\]"):
        ranked(features="pooled")
    x, relevance = data()
    with pytest.raises(ValueError, match=r"`y\['r'\]` must be as long as"):
        ranked().evaluate(x, {"r": relevance[:, :3]}, verbose=0)
    with pytest.raises(Exception, match=r"`y\['r'\]` must lie in \[0, inf\]"):
        ranked().evaluate(x, {"r": relevance - 2}, verbose=0)
