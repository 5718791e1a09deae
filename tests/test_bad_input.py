"""Every mistake raises before the first step, with the argument, the rule, what was received and the remedy."""

import re

import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

import tf_mtl as mtl

COMPILE_OPTIONS = {"loss": small_models.LOSS, "metrics": {"topic": ["accuracy"], "price": ["mae"]}}


def compiled(**options):
    model = small_models.model()
    model.compile("adam", **{**COMPILE_OPTIONS, **options})
    return model


def raises(*words, error=ValueError):
    """Match an error that contains all the words, in this order."""
    return pytest.raises(error, match="(?s)" + ".*".join(re.escape(word) for word in words))


@pytest.mark.parametrize("argument", ["loss", "metrics", "loss_weights", "weighted_metrics"])
def test_unknown_task_names_in_compile(argument):
    by_task = {"topic": 1.0, "price": 1.0} if argument == "loss_weights" else dict(COMPILE_OPTIONS["metrics"])
    by_task["pirce"] = by_task.pop("price")
    with raises(f"`{argument}`", "unknown key 'pirce'", "['topic', 'price']", "Did you mean 'price'?"):
        compiled(**{argument: by_task})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss_weights": {"topic": -1.0, "price": 1.0}}, ["`loss_weights['topic']`", "not negative", "-1.0"]),
        ({"loss_weights": {"topic": keras.Variable(1.0), "price": 1.0}}, ["`loss_weights['topic']`", "balancing"]),
        ({"loss_weights": [1.0]}, ["`loss_weights` as a list", "['price', 'topic']", "[1.0]"]),
        ({"loss_weights": 2.0}, ["`loss_weights` must be a dict", "2.0"]),
        ({"metrics": ["mae"]}, ["`metrics` as a list", "one entry per output", "['mae']", "dict"]),
        ({"loss": {"topic": None}, "metrics": None}, ["`loss`", "at least one", "['topic', 'price']"]),
        (
            {"loss": {"topic": "mse", "price": keras.losses.MeanSquaredError(reduction="sum")}},
            ["`loss['price']`", "reduction='sum'", "loss_weights"],
        ),
        ({"metrics": {"topic": [], "price": ["accuracy"]}}, ["`metrics['price']`", "which accuracy", "metric object"]),
        ({"metrics": {"topic": [], "price": ["mae", "mae"]}}, ["`metrics['price']`", "two metrics named", "name"]),
        (
            {"metrics": {"topic": [], "price": [keras.metrics.MeanAbsoluteError(name="loss")]}},
            ["`metrics['price']`", "'loss'"],
        ),
        ({"balancing": "equall"}, ["`balancing`", "'equall'", "Did you mean 'Equal'?"]),
        ({"balancing": "fixed"}, ["`balancing='fixed'`", "tf_mtl.balancing.Fixed("]),
        ({"balancing": mtl.balancing.Fixed({"topic": 1.0})}, ["`weights`", "Missing: ['price']"]),
        ({"balancing": mtl.balancing.Fixed([1.0])}, ["`weights`", "one number per task", "received 1"]),
        ({"gradients": "both"}, ["`gradients`", "'parameters' or 'features'", "'both'"]),
    ],
)
def test_options_of_compile(options, words):
    with raises(*words):
        compiled(**options)


def test_a_balancing_object_serves_one_set_of_tasks():
    method = small_models.SumOfGradients()
    compiled(balancing=method)
    compiled(balancing=method)  # it has no state
    x = keras.Input((3,))
    h = keras.layers.Dense(2)(x)
    other = mtl.MultiTaskModel(x, {"a": keras.layers.Dense(1)(h), "b": keras.layers.Dense(1)(h)})
    with raises("SumOfGradients", "['topic', 'price']", "['a', 'b']", "Create a new object"):
        other.compile("sgd", loss="mse", balancing=method)


def test_scalar_losses_are_not_supported():
    model = compiled(loss={"topic": small_models.LOSS["topic"], "price": lambda y, p: tf.reduce_mean(y - p)})
    with raises("`loss['price']`", "one value per row", "scalar"):
        model.fit(*small_models.full_data(), verbose=0)


def bad_data():
    x, y = small_models.full_data()
    w = np.ones(len(x), "float32")
    missing = {"topic": y["topic"]}
    yield "misspelt", x, {"topics": y["topic"], "price": y["price"]}, None, ["`y`", "'topics'", "Did you mean 'topic'"]
    yield "missing", x, missing, None, ["`y`", "Missing: ['price']"]
    yield "no dict", x, y["price"], None, ["`y` must be a dict", "['topic', 'price']"]
    yield (
        "class",
        x,
        {**y, "topic": np.where(np.arange(40) == 30, 3, y["topic"])},
        None,
        [
            "`y['topic']`",
            "class indices from 0 to 2",
            "mask_missing",
            "Received: [3",
        ],
    )
    yield (
        "negative",
        x,
        {**y, "topic": np.where(np.arange(40) == 30, -1, y["topic"])},
        None,
        [
            "`y['topic']`",
            "class indices from 0 to 2",
            "Received: [-1",
        ],
    )
    yield (
        "nan label",
        x,
        {**y, "price": np.where(np.arange(40) == 30, np.nan, y["price"])},
        None,
        [
            "`y['price']`",
            "NaN",
            "mask_missing",
            "Received: [nan",
        ],
    )
    yield "shape", x, {**y, "price": np.ones((40, 2))}, None, ["`y['price']`", "2)", "(None, 1)"]
    yield "one hot", x, {**y, "topic": np.eye(3)[y["topic"]]}, None, ["`y['topic']`", "3)", "class indices", "(None,)"]
    yield "weight name", x, y, {"pirce": w}, ["`sample_weight`", "'pirce'", "Did you mean 'price'"]
    yield "weight value", x, y, {"topic": w, "price": -w}, ["`sample_weight['price']`", "not negative", "Received: [-1"]
    x_nan = x.copy()
    x_nan[30, 2] = np.nan
    yield "input", x_nan, y, None, ["`x`", "NaN", "Fill or drop", "Received: [nan"]


CASES = list(bad_data())


class OneBatch(keras.utils.PyDataset):
    """A PyDataset of one batch."""

    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.batch


@pytest.mark.parametrize(
    "form", ["arrays", "dataset", "validation", "evaluate", "on_batch", "test_on_batch", "generator", "PyDataset"]
)
@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_data(form, case):
    _, x, y, weight, words = case
    model = compiled()
    if form == "dataset" and not isinstance(y, dict):
        words = ["`y` must be a dict", "['topic', 'price']"]
    before = model.get_weights()
    with raises(*words, error=(ValueError, TypeError)):
        if form == "arrays":
            model.fit(x, y, sample_weight=weight, verbose=0, shuffle=False)
        elif form == "validation":
            model.fit(*small_models.full_data(), validation_data=(x, y, weight), verbose=0)
        elif form == "evaluate":
            model.evaluate(x, y, sample_weight=weight, verbose=0)
        elif form == "on_batch":
            model.train_on_batch(x, y, sample_weight=weight)
        elif form == "test_on_batch":
            model.test_on_batch(x, y, sample_weight=weight)
        else:
            data = (x, y) if weight is None else (x, y, weight)
            data_of_form = {"generator": lambda: iter([data]), "PyDataset": lambda: OneBatch(data)}
            model.fit(data_of_form.get(form, lambda: small_models.batches(data, size=40))(), verbose=0)
    if form != "evaluate":
        assert small_models.largest_difference(before, model.get_weights()) == 0


def test_a_bad_batch_stops_training_before_its_step():
    x, y = small_models.full_data()
    y["topic"][20] = 7
    model = compiled(run_eagerly=True)
    steps = []
    counter = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    with raises("`y['topic']`", "Received: [7"):
        model.fit(small_models.batches((x, y)), verbose=0, callbacks=[counter])
    assert steps == [0, 1]


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: {"x": x[:0], "y": {task: labels[:0] for task, labels in y.items()}},
        lambda x, y: {"x": small_models.batches((x, y)).take(0)},
        lambda x, y: {"x": small_models.batches((x, y)).filter(lambda *batch: False)},
    ],
)
@pytest.mark.parametrize("call", ["fit", "evaluate"])
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_an_empty_data_set(make, call):
    model = compiled()
    with pytest.raises(ValueError, match=r"empty.*(at least one|no batch|array)"):
        getattr(model, call)(**make(*small_models.full_data()), verbose=0)


def test_elements_that_are_not_pairs():
    x, _ = small_models.full_data()
    with raises("(x, {task: y})", "TensorSpec", error=TypeError):
        compiled().fit(tf.data.Dataset.from_tensor_slices(x).batch(8), verbose=0)


def test_outputs_and_tasks():
    x = keras.Input((3,))
    h = keras.layers.Dense(2)(x)
    with raises("`outputs` must be a flat dict", "list", error=TypeError):
        mtl.MultiTaskModel(x, [h])
    with raises("`outputs` must be a flat dict", error=TypeError):
        mtl.MultiTaskModel(x, {"a": {"b": h}})
    with raises("`tasks`", "'b'", "['a']"):
        mtl.MultiTaskModel(x, {"a": h}, tasks=[mtl.tasks.Regression("b")])
    with raises("`decode` needs task objects", "build_model"):
        mtl.MultiTaskModel(x, {"a": h}).decode({"a": np.ones((1, 2))})


def build(tasks, trunk=None):
    return mtl.build_model(keras.Input((3,)), trunk or mtl.trunks.HardSharing(keras.layers.Dense(2)), tasks)


def test_build_model():
    a = mtl.tasks.Regression("a")
    with raises("`tasks`", "different names", "['a', 'a']", "rename"):
        build([a, mtl.tasks.Classification("a", labels=2)])
    with raises("`tasks`", "at least one", "none"):
        build([])
    with raises("`tasks`", "'a'", error=TypeError):
        build(["a"])
    with raises("`trunk`", "HardSharing(encoder)", error=TypeError):
        build([a], trunk=keras.layers.Dense(2))
    with raises("`encoder`", "None", error=TypeError):
        mtl.trunks.HardSharing(None)
    with raises("encoder must return", error=TypeError):
        build([a], trunk=mtl.trunks.HardSharing(lambda x: [x]))
    with raises("Task 'a'", "features['sequence']", "['pooled']"):
        build([mtl.tasks.Regression("a", features="sequence")])
    x = keras.Input((3,), name="a")
    for inputs in (x, {"b": x}):
        with raises("`tasks` must not have the names of inputs", "'a'", "Rename"):
            mtl.build_model(inputs, mtl.trunks.HardSharing(keras.layers.Dense(2)), [a])


class TrunkOf(mtl.trunks.Trunk):
    """A trunk that returns what a function makes of its inputs."""

    def __init__(self, make):
        self.make = make

    def __call__(self, inputs, tasks):
        return self.make(inputs)


@pytest.mark.parametrize(
    "make", [lambda x: x, lambda x: {"a": x}, lambda x: {"b": {"pooled": x}}, lambda x: None, lambda x: {"pooled": x}]
)
def test_trunks_that_return_no_features(make):
    with raises("`trunk` must return a dict {task: features}", "['a']", "TrunkOf returned", error=TypeError):
        build([mtl.tasks.Regression("a")], trunk=TrunkOf(make))


def test_names_that_are_not_ascii(tmp_path):
    """TensorFlow refuses layers of such names in a graph; the keys of outputs may have any name."""
    x = keras.Input((3,), name="höhe")
    with raises("layers of `outputs` must have ASCII names", "'größe'", "Rename"):
        mtl.MultiTaskModel(x, {"a": keras.layers.Dense(1, name="größe")(x)})
    model = mtl.MultiTaskModel(x, {"größe": keras.layers.Dense(1)(x), "温度": keras.layers.Dense(1)(x)})
    model.compile("sgd", loss="mse")
    y = {"größe": np.ones(4), "温度": np.zeros(4)}
    assert set(model.fit(np.ones((4, 3)), y, verbose=0).history) == {"loss", "größe_loss", "温度_loss"}
    model = mtl.build_model(x, mtl.trunks.HardSharing(keras.layers.Dense(2)), [mtl.tasks.Regression("a")])
    with raises("input of the model", "ASCII", "'höhe'", 'name="x"'):
        mtl.export.saved_model(model, tmp_path)
    x = keras.Input((3,), name="x")
    model = mtl.build_model(x, mtl.trunks.HardSharing(keras.layers.Dense(2)), [mtl.tasks.Regression("a")])
    with raises("name of a signature", "ASCII", "'größe'"):
        mtl.export.saved_model(model, tmp_path, signatures={"größe": ["a"]})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: mtl.tasks.Regression("not a name"), ["`name`", "identifier", "'not a name'"]),
        (lambda: mtl.tasks.Regression("größe"), ["`name`", "ASCII", "'größe'", "Rename"]),
        (lambda: mtl.tasks.Regression("a", hidden_units="8"), ["`hidden_units`", "integer", "or None", "'8'"]),
        (lambda: mtl.tasks.Regression("a", dropout="0.1"), ["`dropout`", "[0, 1)", "'0.1'"]),
        (lambda: mtl.tasks.Regression("a", units=2.0), ["`units`", "integer", "2.0"]),
        (lambda: mtl.tasks.Regression("a", low="0"), ["`low`", "number", "'0'"]),
        (lambda: mtl.tasks.Regression("a", offset=float("nan")), ["`offset`", "number", "nan"]),
        (lambda: mtl.tasks.BinaryClassification("a", threshold=2), ["`threshold`", "[0, 1]", "2"]),
        (lambda: mtl.tasks.MultiLabel("a", 2, threshold="x"), ["`threshold`", "[0, 1]", "'x'"]),
        (lambda: mtl.tasks.MultiLabel("a", 2, pos_weight=[1, -1]), ["`pos_weight`", "[0, inf)", "-1"]),
        (lambda: mtl.tasks.Classification("a", labels=["x"]), ["`labels`", "at least 2", "['x']"]),
        (lambda: mtl.tasks.Classification("a", labels=["x", "x"]), ["`labels`", "different names"]),
        (lambda: mtl.tasks.BinaryClassification("a", labels=["x", "y", "z"]), ["two names", "Classification"]),
        (lambda: mtl.tasks.Regression("a", scale=0), ["`scale`", "(0, inf)", "0"]),
        (lambda: mtl.tasks.Regression("a", low=1, high=0), ["`low`", "below `high`"]),
        (lambda: mtl.balancing.Fixed({"a": -1.0}), ["`weights`", "at least 0"]),
        (lambda: mtl.metrics.Spearman(1, 1), ["`low`", "below `high`"]),
        (lambda: mtl.metrics.MultiLabelF1(2, average="weighted"), ["`average`", "'weighted'"]),
        (lambda: mtl.encoders.MLPEncoder([]), ["`units`", "at least one"]),
        (lambda: mtl.distribute.strategy("tpu"), ["`name`", "mirrored", "'tpu'"]),
        (lambda: mtl.distribute.strategy("multi_worker"), ["TF_CONFIG", "None", "'mirrored'"]),
    ],
)
def test_constructors(make, words):
    with raises(*words):
        make()


def test_options_that_keras_does_not_support_under_a_strategy():
    with mtl.distribute.strategy("mirrored").scope():
        model = small_models.model()
        optimizer = keras.optimizers.Adam(use_ema=True, ema_overwrite_frequency=2)
        with raises("`ema_overwrite_frequency`", "MirroredStrategy", "2 replicas", "one device"):
            model.compile(optimizer, loss=small_models.LOSS)


def test_gradient_accumulation_of_keras_is_not_supported():
    """Keras divides by the number of micro-batches, not of labels, and loses gradients if the last has no labels."""
    with raises("`gradient_accumulation_steps`", "micro-batches", "compile(accumulate=n)"):
        small_models.model().compile(keras.optimizers.Adam(gradient_accumulation_steps=2), loss=small_models.LOSS)


def test_features_need_own_layers_outside_nested_models():
    inner_x = keras.Input((4,))
    h = keras.layers.Dense(3)(inner_x)
    inner = keras.Model(inner_x, {t: keras.layers.Dense(1)(h) for t in "ab"})
    x = keras.Input((4,))
    model = mtl.MultiTaskModel(x, inner(x))
    with raises("gradients='features'", "kernel lies in a nested model", "gradients='parameters'"):
        model.compile("sgd", loss="mse", balancing=small_models.InverseNorm(), gradients="features")


@pytest.mark.parametrize("loss", ["huber", "mape", keras.losses.LogCosh(name="renamed")])
def test_shapes_are_checked_for_every_loss_of_keras(loss):
    x, y = small_models.full_data()
    model = compiled(loss={"topic": small_models.LOSS["topic"], "price": loss})
    with raises("`y['price']`", "2)", "(None, 1)"):
        model.fit(x, {**y, "price": np.ones((40, 2))}, verbose=0)


def test_an_optimizer_created_outside_the_scope_of_the_strategy():
    with mtl.distribute.strategy("mirrored").scope():
        model = small_models.model()
    with raises("`optimizer` was made under _DefaultDistributionStrategy", "MirroredStrategy", "strategy.scope()"):
        model.compile(keras.optimizers.Adam(), loss=small_models.LOSS)


def test_virtual_devices_after_tensorflow_has_started():
    with raises("`virtual_devices=3`", "before TensorFlow", "started with 2", error=RuntimeError):
        mtl.distribute.strategy("mirrored", virtual_devices=3)


@pytest.mark.parametrize("labels", [[["a"], ["b", "a"], []], [[0, 1], [1, 0], [1, 1]]])
def test_lists_in_place_of_arrays(labels):
    tasks = [mtl.tasks.MultiLabel("moods", ["a", "b"])]
    model = mtl.build_model(keras.Input((2,)), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([2])), tasks)
    model.compile("sgd")
    with pytest.raises(ValueError, match=r"`y\['moods'\]` must be an array.*tf\.ragged\.constant"):
        model.fit(np.ones((3, 2)), {"moods": labels}, verbose=0)
    names = tf.ragged.constant([["a"], ["b", "a"], []])
    model.fit(np.ones((3, 2)), {"moods": names}, verbose=0)
    weight = {"moods": [1.0, 0.0, 1.0]}
    with pytest.raises(ValueError, match=r"`sample_weight\['moods'\]` must be an array"):
        model.fit(np.ones((3, 2)), {"moods": names}, sample_weight=weight, verbose=0)
