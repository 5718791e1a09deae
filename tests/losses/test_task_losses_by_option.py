"""The losses that options of tasks choose, against formulas in NumPy and other libraries."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, log_softmax

import tf_mtl as mtl

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 3)) * 3
LABELS = np.array([0, 2, 1, 1, 0, 2])
CELLS = np.array([[0, 1, 1], [1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 0], [1, 1, 1]])
FOCAL = {  # of Lin et al.'s loss with gamma = 2 and alpha = 0.25
    "logits": [-0.0019, -0.6837, 1.2033, 0.7655, 0.4727, -0.6184, 3.3625, -2.3357, -0.0453, -1.1604],
    "labels": [0, 1, 1, 1, 0, 1, 0, 0, 0, 1],
    "loss": [0.129541, 0.120605, 0.003499, 0.009622, 0.272423, 0.110794, 2.379661, 0.000539, 0.120135, 0.20769],
}


def crossentropy(weights=(1, 1, 1), smoothing=0.0, gamma=0.0):
    logarithms = log_softmax(LOGITS, 1)
    target = (1 - smoothing) * np.eye(3)[LABELS] + smoothing / 3
    of_label = logarithms[np.arange(6), LABELS]
    return np.array(weights)[LABELS] * (1 - np.exp(of_label)) ** gamma * -(target * logarithms).sum(1)


@pytest.mark.parametrize("task", [mtl.tasks.Classification, mtl.tasks.Tagging])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, crossentropy()),
        ({"class_weights": {"b": 3.0, "c": 0.5}}, crossentropy((1, 3, 0.5))),
        ({"label_smoothing": 0.2}, crossentropy(smoothing=0.2)),
        ({"label_smoothing": 0.2, "class_weights": {"a": 0.0}}, crossentropy((0, 1, 1), 0.2)),
        ({"focal": 2.0}, crossentropy(gamma=2.0)),
        ({"focal": 0.5, "class_weights": {"a": 4.0}}, crossentropy((4, 1, 1), gamma=0.5)),
    ],
)
def test_one_of_several_classes(task, options, expected):
    scheme = {"scheme": "none"} if task is mtl.tasks.Tagging else {}
    loss = task("t", ["a", "b", "c"], **scheme, **options).loss
    np.testing.assert_allclose(loss.call(LABELS, tf.constant(LOGITS)), expected, rtol=1e-6)
    words = loss.call(LABELS.reshape(2, 3), tf.constant(LOGITS.reshape(2, 3, 3)))
    np.testing.assert_allclose(words, expected.reshape(2, 3), rtol=1e-6)


def binary(pos_weight=1.0, smoothing=0.0):
    y = (1 - smoothing) * CELLS + smoothing / 2
    return -pos_weight * y * np.log(expit(LOGITS)) - (1 - y) * np.log(expit(-LOGITS))


def focal(gamma):
    p = np.where(CELLS, expit(LOGITS), expit(-LOGITS))
    return -((1 - p) ** gamma) * np.log(p)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, binary()),
        ({"pos_weight": 3.0}, binary(3.0)),
        ({"pos_weight": 3.0, "label_smoothing": 0.1}, binary(3.0, 0.1)),
        ({"label_smoothing": 0.1}, binary(1.0, 0.1)),
        ({"focal": 1.5}, focal(1.5)),
    ],
)
def test_binary_labels(options, expected):
    loss = mtl.tasks.MultiLabel("t", 3, **options).loss
    np.testing.assert_allclose(loss.call(CELLS, tf.constant(LOGITS)), expected, rtol=1e-6)
    loss = mtl.tasks.BinaryClassification("t", **options).loss
    values = loss.call(CELLS[:, :1], tf.constant(LOGITS[:, :1]))
    np.testing.assert_allclose(np.ravel(values), expected[:, 0], rtol=1e-6)


def test_the_focal_loss_of_the_paper():
    values = mtl.losses.SigmoidFocal().call(np.array(FOCAL["labels"]), np.array(FOCAL["logits"]))
    np.testing.assert_allclose(values, FOCAL["loss"], atol=2e-6)


@pytest.mark.parametrize("loss", [mtl.losses.SigmoidFocal(0.5), mtl.losses.ClassCrossentropy(gamma=0.5)])
def test_gradients_of_certain_answers_are_finite(loss):
    logits = tf.constant([[200.0, -200.0], [-200.0, 200.0]])
    labels = np.array([0, 1]) if isinstance(loss, mtl.losses.ClassCrossentropy) else np.eye(2)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = tf.reduce_sum(loss.call(labels, logits))
    assert np.isfinite(tape.gradient(value, logits)).all()


Y, PREDICTED = RNG.normal(size=(5, 2)) * 4, RNG.normal(size=(5, 2)) * 4
ERROR = (Y - PREDICTED) / 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ERROR**2),
        ({"loss": "mae"}, abs(ERROR)),
        ({"loss": "huber"}, np.where(abs(ERROR) < 1, ERROR**2 / 2, abs(ERROR) - 0.5)),
        ({"loss": "quantile", "quantile": 0.9}, np.where(ERROR > 0, 0.9 * ERROR, -0.1 * ERROR)),
    ],
)
def test_errors_of_regression(options, expected):
    loss = mtl.tasks.Regression("t", units=2, scale=2.0, **options).loss
    np.testing.assert_allclose(loss.call(Y, tf.constant(PREDICTED)), expected, rtol=1e-6)


def test_counts():
    counts, rates = np.array([[0.0, 3.0]]), np.array([[0.5, 2.0]])
    expected = keras.losses.Poisson(reduction="none")(counts.T, rates.T)
    loss = mtl.tasks.Regression("t", units=2, loss="poisson").loss
    np.testing.assert_allclose(loss.call(counts, rates)[0], expected, rtol=1e-5)
    model = mtl.build_model(
        keras.Input((2,)),
        mtl.trunks.HardSharing(keras.layers.Dense(4)),
        [mtl.tasks.Regression("visits", loss="poisson", offset=1.0, kernel_regularizer="l2")],
    )
    model.compile(keras.optimizers.Adam(0.1))
    x = RNG.normal(size=(512, 2)).astype("float32")
    visits = RNG.poisson(np.exp(0.5 * x[:, 0] + 1))
    model.fit(x, {"visits": visits}, epochs=30, verbose=0)
    rates = model.predict(x, verbose=0)["visits"][:, 0]
    assert (rates > 0).all()
    assert np.corrcoef(np.log(rates), x[:, 0])[0, 1] > 0.9
    with pytest.raises(ValueError, match=r"`y\['visits'\]` must lie in \[0, inf\]"):
        model.evaluate(x, {"visits": visits - 1}, verbose=0)


def test_a_quantile_of_the_labels_is_learnt():
    model = mtl.build_model(
        keras.Input((1,)),
        mtl.trunks.HardSharing(keras.layers.Dense(1)),
        [mtl.tasks.Regression(f"q{q}", loss="quantile", quantile=q / 100) for q in (10, 90)],
    )
    model.compile(keras.optimizers.SGD(0.2))
    x, y = np.ones((1000, 1), "float32"), np.linspace(0, 1, 1000, dtype="float32")
    model.fit(x, {"q10": y, "q90": y}, epochs=5, batch_size=100, verbose=0)
    predicted = {task: float(values[0, 0]) for task, values in model.predict(x[:1], verbose=0).items()}
    assert predicted == pytest.approx({"q10": 0.1, "q90": 0.9}, abs=0.06)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: mtl.tasks.Classification("t", 3, label_smoothing=0.1, focal=2.0), "not supported together"),
        (lambda: mtl.tasks.Classification("t", ["news", "art"], class_weights={"new": 2.0}), "'new'.*mean 'news'"),
        (lambda: mtl.tasks.Classification("t", 3, class_weights="balanced"), "balanced_class_weights"),
        (lambda: mtl.tasks.Classification("t", 3, class_weights={"0": -1.0}), "`class_weights` must be a number"),
        (lambda: mtl.tasks.Tagging("t", ["O", "B-a"], crf=True, focal=1.0), "crf=False"),
        (lambda: mtl.tasks.BinaryClassification("t", focal=2.0, pos_weight=2.0), "SigmoidFocal"),
        (lambda: mtl.tasks.MultiLabel("t", 2, focal=2.0, label_smoothing=0.1), "SigmoidFocal"),
        (lambda: mtl.tasks.Regression("t", loss="hubert"), "mean 'huber'"),
        (lambda: mtl.tasks.Regression("t", loss="quantile"), "Set both, or neither"),
        (lambda: mtl.tasks.Regression("t", quantile=0.5), "Set both, or neither"),
        (lambda: mtl.tasks.Regression("t", loss="quantile", quantile=1), r"`quantile` must be a number in \(0, 1\)"),
        (lambda: mtl.tasks.Regression("t", hidden_units=[8, 0]), "`hidden_units` must be an integer"),
    ],
)
def test_invalid_options(make, match):
    with pytest.raises(ValueError, match=match):
        make()


HEADS = {
    "one layer": (8, ["t_hidden"]),
    "two layers": ([8, 6], ["t_hidden_1", "t_hidden"]),
    "a layer": (keras.layers.Dense(5, activation="tanh"), ["t_hidden"]),
    "a model": (keras.Sequential([keras.layers.Dense(5), keras.layers.LayerNormalization()]), ["t_hidden"]),
}


@pytest.mark.parametrize("kind", HEADS)
def test_deeper_heads(kind, tmp_path):
    """Hidden layers of any kind, which another task reads; the kernels of dense layers are regularized."""
    hidden, names = HEADS[kind]
    tasks = [
        mtl.tasks.Classification("t", 3, hidden_units=hidden, kernel_regularizer=keras.regularizers.L2(0.1)),
        mtl.tasks.Regression("u", hidden_units=hidden, after={"t": "hidden"}),
    ]
    models = [
        mtl.build_model(keras.Input((4,)), mtl.trunks.HardSharing(keras.layers.Dense(4)), tasks) for _ in range(2)
    ]
    kernels = [model.get_layer("t_hidden").weights[0] for model in models]
    assert kernels[0] is not kernels[1]  # each model has a copy of a layer
    model = models[0]
    assert [layer.name for layer in model.layers if layer.name.startswith("t_hidden")] == names
    regularized = ["t", *names] if "layers" in kind or kind == "one layer" else ["t"]  # given layers have their own
    expected = sum(0.1 * np.square(model.get_layer(name).kernel).sum() for name in regularized)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)
    model.compile("sgd")
    x, y = RNG.normal(size=(4, 4)).astype("float32"), {"t": np.arange(4) % 3, "u": np.ones(4)}
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded(x)["u"], model(x)["u"])
    assert [t.get_config() for t in loaded.tasks] == [t.get_config() for t in model.tasks]


def test_balanced_class_weights():
    labels = ["O", "B-a", "I-a"]
    tags, weight = np.array([[0, 0, 1], [0, 2, 0]]), np.array([1.0, 0.0], "float32")
    names = np.array(labels)[tags]
    from_arrays = mtl.data.balanced_class_weights(tags, labels)
    assert from_arrays == pytest.approx({"O": 6 / (3 * 4), "B-a": 2.0, "I-a": 2.0})
    assert mtl.data.balanced_class_weights(names, labels) == from_arrays
    assert mtl.data.balanced_class_weights(tags, 3) == pytest.approx({"0": 1 / 2, "1": 2.0, "2": 2.0})
    rows = tf.data.Dataset.from_tensor_slices((tags, {"tags": names}, {"tags": weight}))
    of_rows, of_batches = (mtl.data.balanced_class_weights(data, labels, "tags") for data in (rows, rows.batch(2)))
    assert of_rows == of_batches == pytest.approx({"O": 3 / 4, "B-a": 3 / 2})
    with pytest.raises(ValueError, match=r"`task` must name the task.*\['tags'\]"):
        mtl.data.balanced_class_weights(rows, labels)
    with pytest.raises(ValueError, match="endless"):
        mtl.data.balanced_class_weights(rows.repeat(), labels, "tags")
    with pytest.raises(ValueError, match="received none"):
        mtl.data.balanced_class_weights(np.zeros([0], int), labels)
    for wrong in (np.array([0, 3]), np.array(["O", "B-b"])):
        with pytest.raises(ValueError, match=r"must hold class indices or names.*received \[(3|'B-b')\]"):
            mtl.data.balanced_class_weights(wrong, labels)
    missing = np.array(["O", "", "B-a"])
    assert mtl.data.balanced_class_weights(missing, labels) == {"O": 1.0, "B-a": 1.0}
    assert mtl.data.balanced_class_weights(np.array([True, False, False]), 2) == {"0": 0.75, "1": 1.5}
