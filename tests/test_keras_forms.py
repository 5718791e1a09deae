"""Every form of data, losses, metrics and callbacks that `keras.Model` takes gives the same numbers here.

Each cell runs one call of a `keras.Model` and of a `MultiTaskModel` with the same graph, weights and data. Where Keras
works, `tf_mtl` gives the same numbers, or raises the error listed in `DIFFERENCES` before it trains. Those are the
differences that the guide "From keras.Model in five minutes" documents.
"""

import contextlib
import functools
import warnings

import keras
import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf

import tf_mtl as mtl

ROWS, BATCH = 16, 8
RNG = np.random.default_rng(0)
X = np.maximum(RNG.normal(size=(ROWS, 6)), 0).astype("float32")
Y = {"topic": RNG.integers(0, 3, ROWS), "price": RNG.normal(size=ROWS).astype("float32")}
WEIGHT = np.tile([0.5, 1.5], ROWS // 2).astype("float32")  # with a mean of 1, by which Keras does not divide
LOSS = {"topic": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "price": "mse"}
CALLS = (
    "fit",
    "evaluate",
    "predict",
    "validation_data",
    "validation_split",
    "train_on_batch",
    "test_on_batch",
    "predict_on_batch",
)
QUICK_CALLS = ("fit", "predict", "train_on_batch")  # of the forms of inputs; the slow tests make all calls


class Frame:
    """What a pandas DataFrame shows to Keras and NumPy."""

    def __init__(self, values):
        self.values, self.shape = values, values.shape

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, rows):
        return Frame(self.values[rows])


class Batches(keras.utils.PyDataset):
    """Batches of the rows of nested arrays."""

    def __init__(self, data, **kwargs):
        super().__init__(**kwargs)
        self.data = data

    def __len__(self):
        return ROWS // BATCH

    def __getitem__(self, index):
        return tf.nest.map_structure(lambda a: a[index * BATCH : (index + 1) * BATCH], self.data)


def generator(data):
    return (Batches(data)[index] for index in range(ROWS // BATCH))


def dataset(data):
    return tf.data.Dataset.from_tensor_slices(data).batch(BATCH)


HALVES = X[:, :4], X[:, 4:]
NAMED = dict(zip("ab", HALVES, strict=True))
# The inputs of the model, and x.
X_FORMS = {
    "array": ("one", X),
    "float64": ("one", X.astype("float64")),
    "integers": ("one", (9 * X).astype("int64")),
    "tensor": ("one", tf.constant(X)),
    "a list of one": ("one", [X]),
    "data frame": ("one", Frame(X)),
    "list": ("list", list(HALVES)),
    "tuple": ("list", HALVES),
    "list of tensors": ("list", [tf.constant(half) for half in HALVES]),
    "dict": ("dict", NAMED),
    "dict for a list": ("list", NAMED),
    "sparse tensor": ("sparse", tf.sparse.from_dense(X)),
    "scipy": ("sparse", scipy.sparse.csr_matrix(X)),
}
SOURCES = {
    "tf.data": (lambda data: dataset(data), "one", X),
    "tf.data of tuples": (lambda data: dataset(data), "list", HALVES),
    "tf.data of dicts": (lambda data: dataset(data), "dict", NAMED),
    "tf.data, sparse": (lambda data: dataset(data), "sparse", tf.sparse.from_dense(X)),
    "PyDataset": (Batches, "one", X),
    "PyDataset of dicts": (Batches, "dict", NAMED),
    "PyDataset, two workers": (lambda data: Batches(data, workers=2), "one", X),
    "generator": (generator, "one", X),
    "generator of tuples": (generator, "list", HALVES),
}
Y_FORMS = {
    "integers": Y,
    "columns": {task: labels[:, None] for task, labels in Y.items()},
    "floats": {task: labels.astype("float64") for task, labels in Y.items()},
    "tensors": {task: tf.constant(labels) for task, labels in Y.items()},
    "data frames": {task: Frame(labels) for task, labels in Y.items()},
    "another order": {"price": Y["price"], "topic": Y["topic"]},
    "list": [Y["price"], Y["topic"]],
}
WEIGHT_FORMS = {
    "dict": {"topic": WEIGHT, "price": WEIGHT[::-1].copy()},
    "columns": {"topic": WEIGHT[:, None], "price": WEIGHT[:, None]},
    "tensors": {"topic": tf.constant(WEIGHT), "price": tf.constant(WEIGHT)},
    "one for all": WEIGHT,
    "float64": {"topic": WEIGHT.astype("float64"), "price": WEIGHT.astype("float64")},
}
COMPILE_FORMS = {
    "a loss for all": {"loss": "mse"},
    "a loss object for all": {"loss": keras.losses.MeanSquaredError()},
    "a function": {"loss": {**LOSS, "price": lambda y, p: keras.ops.mean(keras.ops.abs(y - p), axis=-1)}},
    "a list of losses": {"loss": [LOSS["price"], LOSS["topic"]]},
    "a loss for one output": {"loss": {"topic": LOSS["topic"]}},
    "None for one output": {"loss": {"topic": LOSS["topic"], "price": None}},
    "None in a list": {"loss": [None, LOSS["topic"]]},
    "loss weights": {"loss_weights": {"topic": 0.5, "price": 2.0}},
    "integer loss weights": {"loss_weights": {"topic": 1, "price": np.int64(2)}},
    "NumPy loss weights": {"loss_weights": {"topic": np.float32(0.5), "price": np.float64(2)}},
    "a list of loss weights": {"loss_weights": [2.0, 0.5]},
    "metrics": {"metrics": {"topic": "accuracy", "price": ["mae", "mse"]}},
    "metrics of one output": {"metrics": {"topic": "accuracy"}},
    "None for metrics": {"metrics": {"topic": "accuracy", "price": None}},
    "a list of metrics": {"metrics": ["mae", "accuracy"]},
    "lists of metrics": {"metrics": [["mae", "mse"], ["accuracy"]]},
    "metric objects": lambda: {"metrics": {"price": keras.metrics.MeanAbsoluteError(name="error")}},
    "weighted metrics": {"weighted_metrics": {"topic": ["accuracy"], "price": ["mae"]}},
    "both metrics": {"metrics": {"price": ["mae"]}, "weighted_metrics": {"price": ["mae"]}},
    "a metric without a loss": {"loss": {"topic": LOSS["topic"]}, "metrics": {"price": ["mae"]}},
}
CALLBACKS = {
    "one": lambda folder: keras.callbacks.LambdaCallback(),
    "CallbackList": lambda folder: keras.callbacks.CallbackList(add_history=True),
    "EarlyStopping": lambda folder: [keras.callbacks.EarlyStopping("loss", patience=0, min_delta=9)],
    "restored": lambda folder: [
        keras.callbacks.EarlyStopping("loss", mode="max", patience=1, restore_best_weights=True)
    ],
    "ReduceLROnPlateau": lambda folder: [keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=9)],
    "LearningRateScheduler": lambda folder: [keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1))],
    "ModelCheckpoint": lambda folder: [keras.callbacks.ModelCheckpoint(folder / "model.keras", "loss")],
    "BackupAndRestore": lambda folder: [keras.callbacks.BackupAndRestore(folder / "backup")],
    "CSVLogger": lambda folder: [keras.callbacks.CSVLogger(folder / "log.csv")],
    "TerminateOnNaN": lambda folder: [keras.callbacks.TerminateOnNaN()],
}
# What Keras takes and tf_mtl refuses: form -> part of the message.
DIFFERENCES = {
    "y: list": "`y` must be a dict",
}


def build(model_class, inputs):
    keras.utils.set_random_seed(3)
    shapes = {"one": [6], "sparse": [6], "list": [4, 2], "dict": [4, 2]}[inputs]
    tensors = [
        keras.Input((size,), sparse=inputs == "sparse", name=name) for name, size in zip("ab", shapes, strict=False)
    ]
    x = tensors[0] if len(tensors) == 1 else keras.layers.Concatenate()(tensors)
    h = keras.layers.Dense(8, activation="tanh")(x)
    outputs = {name: keras.layers.Dense(size, name=name)(h) for name, size in (("topic", 3), ("price", 1))}
    given = {"one": tensors[0], "sparse": tensors[0], "list": tensors, "dict": dict(zip("ab", tensors, strict=False))}
    return model_class(given[inputs], outputs)


def run(model, call, x, y, weight):
    """Return the numbers that a call gives: logs or outputs."""
    if call == "fit":
        return model.fit(x, y, sample_weight=weight, batch_size=BATCH, shuffle=False, epochs=2, verbose=0).history
    if call == "evaluate":
        return model.evaluate(x, y, sample_weight=weight, batch_size=BATCH, verbose=0, return_dict=True)
    if call == "predict":
        return model.predict(x, batch_size=BATCH, verbose=0)
    if call == "validation_data":
        data = (x, y) if weight is None else (x, y, weight)
        data = x if y is None else data
        own = model.inputs if len(model.inputs) > 1 else model.inputs[0]
        zeros = tf.nest.map_structure(lambda t: np.zeros((BATCH, t.shape[1]), "float32"), own)
        zeros = tf.sparse.from_dense(zeros) if getattr(own, "sparse", False) else zeros
        zeros = dict(zip("ab", zeros, strict=True)) if isinstance(model.input, dict) else zeros
        first = {task: labels[:BATCH] for task, labels in Y.items()}
        return model.fit(zeros, first, validation_data=data, validation_batch_size=BATCH, verbose=0).history
    if call == "validation_split":
        options = {"validation_split": 0.5, "batch_size": BATCH, "shuffle": False, "verbose": 0}
        return model.fit(x, y, sample_weight=weight, **options).history
    if call == "predict_on_batch":
        return model.predict_on_batch(x)
    return getattr(model, call)(x, y, sample_weight=weight, return_dict=True)


def compile_model(model, options=None, run_eagerly=True):
    options = options() if callable(options) else options or {}
    optimizer = keras.optimizers.SGD(0.1)  # has no state
    model.compile(optimizer, **{"loss": LOSS, **options}, run_eagerly=run_eagerly)


@functools.cache
def shared(model_class, inputs, weighted_metrics):
    """A compiled model for all cells that differ only in their data, and its initial weights."""
    model = build(model_class, inputs)
    compile_model(model, {"weighted_metrics": {"price": ["mae"]}} if weighted_metrics else None)
    return model, model.get_weights()


def shared_outcome(model_class, action, inputs, weighted_metrics):
    model, weights = shared(model_class, inputs, weighted_metrics)
    model.set_weights(weights)
    model.reset_metrics()
    return result_of(model, action)


def outcome(model_class, action, inputs="one", options=None, run_eagerly=True):
    def compile_and_act(model):
        compile_model(model, options, run_eagerly)
        return action(model)

    return result_of(build(model_class, inputs), compile_and_act)


def result_of(model, action):
    """Return the numbers that an action gives and the weights after it, or the error."""
    before = [np.array(weights) for weights in model.get_weights()]
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(None):
            warnings.simplefilter("ignore")
            numbers = action(model)
    except Exception as error:
        if isinstance(model, mtl.MultiTaskModel):
            for old, new in zip(before, model.get_weights(), strict=True):
                np.testing.assert_array_equal(old, new, err_msg="trained before the error")
        return error, None
    return {name: np.array(value, "float64") for name, value in numbers.items()}, model.get_weights()


def check_same_with_shared_models(form, action, inputs="one", weighted_metrics=False):
    compare(form, *(shared_outcome(c, action, inputs, weighted_metrics) for c in (keras.Model, mtl.MultiTaskModel)))


def check_same(form, action, inputs="one", options=None, run_eagerly=True):
    compare(form, *(outcome(c, action, inputs, options, run_eagerly) for c in (keras.Model, mtl.MultiTaskModel)))


def compare(form, keras_outcome, own_outcome):
    (expected, expected_weights), (numbers, weights) = keras_outcome, own_outcome
    if isinstance(expected, Exception):
        pytest.skip(f"Keras refuses this form: {expected}"[:200])
    if form in DIFFERENCES:
        assert isinstance(numbers, (ValueError, TypeError)), numbers
        assert DIFFERENCES[form] in str(numbers)
        return
    if isinstance(numbers, Exception):
        raise numbers
    losses = {f"{prefix}{task}_loss" for task in Y for prefix in ("", "val_")}
    assert expected.keys() <= numbers.keys() <= expected.keys() | losses  # Keras leaves out that of a single loss
    for name, values in expected.items():
        np.testing.assert_allclose(numbers[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
    for one, other in zip(weights, expected_weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("call", [pytest.param(c, marks=[] if c in QUICK_CALLS else pytest.mark.slow) for c in CALLS])
@pytest.mark.parametrize("form", X_FORMS)
def test_inputs(form, call):
    inputs, x = X_FORMS[form]
    check_same_with_shared_models(f"x: {form}", lambda model: run(model, call, x, Y, None), inputs)


@pytest.mark.parametrize("call", ["fit", "evaluate", "predict", "validation_data"])
@pytest.mark.parametrize("form", SOURCES)
@pytest.mark.parametrize("weighted", [pytest.param(False, marks=pytest.mark.slow), True])
def test_sources(form, call, weighted):
    make, inputs, x = SOURCES[form]
    data = (x, Y, WEIGHT_FORMS["dict"]) if weighted else (x, Y)
    data = (x,) if call == "predict" else data
    epochs = 2 if call == "fit" else 1  # a generator gives one epoch only
    if form.startswith("generator") and call == "fit":
        source = lambda: (batch for _ in range(epochs) for batch in make(data))  # noqa: E731
        action = lambda model: model.fit(source(), steps_per_epoch=2, epochs=epochs, verbose=0).history  # noqa: E731
    else:
        action = lambda model: run(model, call, make(data), None, None)  # noqa: E731
    check_same_with_shared_models(f"source: {form}", action, inputs)


@pytest.mark.parametrize("call", ["fit", "evaluate", "validation_data", "validation_split", "train_on_batch"])
@pytest.mark.parametrize("form", Y_FORMS)
def test_labels(form, call):
    check_same(f"y: {form}", lambda model: run(model, call, X, Y_FORMS[form], None))


@pytest.mark.parametrize(
    "call", ["fit", "evaluate", "validation_data", "validation_split", "train_on_batch", "test_on_batch"]
)
@pytest.mark.parametrize("form", WEIGHT_FORMS)
def test_weights(form, call):
    action = lambda model: run(model, call, X, Y, WEIGHT_FORMS[form])  # noqa: E731
    check_same_with_shared_models(f"weight: {form}", action, weighted_metrics=True)


@pytest.mark.parametrize("call", ["fit", "evaluate", "train_on_batch"])
@pytest.mark.parametrize("form", COMPILE_FORMS)
def test_compile(form, call):
    labels = {**Y, "topic": np.eye(3)[Y["topic"]]} if "for all" in form else Y
    check_same(f"compile: {form}", lambda model: run(model, call, X, labels, None), options=COMPILE_FORMS[form])


@pytest.mark.parametrize("form", CALLBACKS)
def test_callbacks(form, tmp_path):
    folders = iter("ab")

    def action(model):
        folder = tmp_path / next(folders)
        folder.mkdir()
        callbacks = CALLBACKS[form](folder)
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.set_model(model)
        return model.fit(X, Y, batch_size=BATCH, shuffle=False, epochs=3, verbose=0, callbacks=callbacks).history

    check_same(f"callback: {form}", action)


@pytest.mark.parametrize("form", ["array", "list", "dict", "sparse tensor"])
def test_inputs_in_a_graph(form):
    inputs, x = X_FORMS[form]
    check_same(f"x: {form}", lambda model: run(model, "fit", x, Y, None), inputs, run_eagerly=False)


@pytest.mark.parametrize("floatx", ["float64", "float16"])
def test_floatx(floatx):
    """Outputs and losses are float32 here, whatever the precision of the layers."""
    tolerance = {"float64": 1e-5, "float16": 2e-2}[floatx]
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(floatx)
    try:
        action = lambda model: run(model, "fit", X, Y, WEIGHT_FORMS["dict"])  # noqa: E731
        expected, expected_weights = outcome(keras.Model, action)
        numbers, weights = outcome(mtl.MultiTaskModel, action)
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
    for name, values in expected.items():
        np.testing.assert_allclose(numbers[name], values, rtol=tolerance, err_msg=name)
    for one, other in zip(weights, expected_weights, strict=True):
        assert one.dtype == floatx
        np.testing.assert_allclose(one, other, atol=tolerance)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_one_weight_tensor_for_all_tasks_in_micro_batches(accumulate):
    """Seven rows of each batch do not divide into two micro-batches."""
    model, expected = build(mtl.MultiTaskModel, "one"), build(mtl.MultiTaskModel, "one")
    weights_of = {"one for all": WEIGHT, "dict": {"topic": WEIGHT, "price": WEIGHT}}
    for each, weight, pieces in ((model, "one for all", accumulate), (expected, "dict", 1)):
        each.compile("sgd", LOSS, accumulate=pieces)
        data = tf.data.Dataset.from_tensor_slices((X, Y, weights_of[weight])).batch(7)
        each.fit(data, verbose=0)
    for one, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_clone_model(compiled):
    trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([4]))
    tasks = [mtl.tasks.Classification("topic", 3), mtl.tasks.Regression("price")]
    model = mtl.build_model(keras.Input((6,), name="a"), trunk, tasks)
    if compiled:
        model.compile("adam", balancing="uncertainty")
    clone = keras.models.clone_model(model)
    assert [type(task) for task in clone.tasks] == [type(task) for task in tasks]
    assert clone.trunk is trunk
    if not compiled:
        clone.compile("adam", balancing="uncertainty")
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone.predict(X, verbose=0)["topic"], model.predict(X, verbose=0)["topic"])
    clone.fit(X, Y, verbose=0)
    assert type(clone.balancing) is mtl.balancing.Uncertainty
    assert clone.balancing is not model.balancing
