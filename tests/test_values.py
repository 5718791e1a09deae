"""The quick test of a batch's values in the pipeline finds what the exact rules find, and nothing else."""

import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl._assertions import readable_errors
from tf_mtl._pipeline import stream
from tf_mtl._pipeline.checks import with_checks
from tf_mtl._pipeline.labels import LabelSpec, Rules
from tf_mtl._pipeline.values import check_values

RULES = Rules(
    [
        LabelSpec("topic", (), 4, True),
        LabelSpec("tags", (None,), 4, True, -1),
        LabelSpec("price", (1,)),
        LabelSpec("rent", (1,)),
        LabelSpec("click", (1,), 1.0),
        LabelSpec("map", (2, 2), 1.0),
    ]
)
ROWS, LENGTH = 6, 3


def batch(rng, weighted, dtype):
    """A batch that keeps all rules; where labels have weight 0, they hold anything."""
    x = {"ids": rng.integers(0, 9, (ROWS, LENGTH)), "floats": rng.normal(size=(ROWS, 2)).astype("float32")}
    y = {
        "topic": rng.integers(0, 5, ROWS).astype(dtype),
        "tags": rng.integers(-1, 5, (ROWS, LENGTH)).astype(dtype),
        "price": rng.normal(size=(ROWS, 1)),
        "rent": rng.normal(size=ROWS).astype("float32"),
        "click": rng.integers(0, 2, (ROWS, 1)).astype("float32"),
        "map": rng.random((ROWS, 2, 2)).astype("float32"),
    }
    if not weighted:
        return x, y
    weight = {
        "topic": rng.integers(0, 2, (ROWS, 1)),
        "tags": rng.integers(0, 2, (ROWS, LENGTH)).astype("float32"),
        "price": rng.random(ROWS),
        "rent": np.full(ROWS, 0.0),
        "map": rng.integers(0, 2, ROWS).astype(bool),
    }
    for task, w in weight.items():
        missing = (w == 0).reshape(-1) if task == "topic" else w == 0
        y[task][missing] = -7 if task in ("topic", "tags") else np.nan
    return x, y, weight


def break_one_rule(rng, batch):
    """Change one value, which may or may not break a rule."""
    x, y, *weight = batch
    kind = rng.choice(["input", "label", "weight"] if weight else ["input", "label"])
    group = {"input": x, "label": y, "weight": weight[0] if weight else None}[kind]
    name = rng.choice(list(group)) if kind != "input" else "floats"
    values = np.array(group[name], "float32" if kind == "weight" else None)
    value = rng.choice([np.nan, np.inf, -np.inf, 5, -1, -2, 0.5])
    if values.dtype.kind == "f" or value.is_integer():
        values[tuple(rng.integers(values.shape))] = value
    group[name] = values


def outcome(check):
    try:
        check()
    except ValueError as error:
        return str(error)
    return "no error"


def read(data):
    """Read a data set of one batch whose sizes are unknown, with checks."""
    data = tf.nest.map_structure(tf.constant, data)
    signature = tf.nest.map_structure(lambda t: tf.TensorSpec([None, *t.shape[1:]], t.dtype), data)
    signature[1]["tags"] = tf.TensorSpec([None, None], data[1]["tags"].dtype)
    dataset = tf.data.Dataset.from_generator(lambda: iter([data]), output_signature=signature)
    with readable_errors():
        list(with_checks((dataset, None, None), RULES)[0].in_pipeline())


@pytest.mark.parametrize("dtype", ["bool", "int32", "uint8"])
def test_labels_of_few_bits_in_a_data_set(dtype):
    rng = np.random.default_rng(0)
    x, y = batch(rng, False, "int64")
    y["click"] = y["click"].astype(dtype)
    read((x, y))
    if dtype == "uint8":
        y["tags"] = np.full((ROWS, LENGTH), 255, "uint8")  # not the ignored class -1
        with pytest.raises(ValueError, match=r"`y\['tags'\]` must be class indices from 0 to 4"):
            read((x, y))


@pytest.mark.parametrize("dtype", ["int64", "float32"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_pipeline_and_arrays_agree(weighted, dtype):
    rng = np.random.default_rng(0)
    outcomes = []
    for case in range(16):
        data = batch(rng, weighted, dtype)
        if case:
            break_one_rule(rng, data)
        expected = outcome(lambda data=data: check_values(*keras.utils.unpack_x_y_sample_weight(data), RULES))
        assert outcome(lambda data=data: read(data)) == expected
        outcomes.append(expected)
    assert outcomes[0] == "no error"
    assert len({message.split(" Received")[0] for message in outcomes}) > 5


def test_a_sum_that_overflows_is_no_error():
    x, y = batch(np.random.default_rng(0), False, "int64")
    x["floats"][:] = y["rent"][:] = 3e38
    read((x, y))


CALLS = {
    "fit": lambda model, x, y, w: model.fit(x, y, sample_weight=w, verbose=0),
    "evaluate": lambda model, x, y, w: model.evaluate(x, y, sample_weight=w, verbose=0),
    "train_on_batch": lambda model, x, y, w: model.train_on_batch(x, y, sample_weight=w),
    "validation_data": lambda model, *data: model.fit(*small_models.full_data(), validation_data=data, verbose=0),
    "validation_split": lambda model, x, y, w: model.fit(x, y, sample_weight=w, validation_split=0.5, verbose=0),
    "dataset": lambda model, *data: model.fit(one_batch(data), verbose=0),
}


def one_batch(data):
    signature = tf.nest.map_structure(lambda a: tf.TensorSpec([None, *a.shape[1:]], a.dtype), data)
    return tf.data.Dataset.from_generator(lambda: iter([data]), output_signature=signature)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", ["x", "y", "sample_weight"])
def test_rows_that_do_not_match(name, call):
    """Keras raises as well: `Data cardinality is ambiguous`."""
    x, y = small_models.full_data(16)
    parts = {"x": {"x": x}, "y": y, "sample_weight": {"price": np.ones(16)}}
    key = "x" if name == "x" else "price"
    parts[name][key] = np.concatenate([parts[name][key]] * 2)
    model = small_models.model()
    model.compile("sgd", loss=small_models.LOSS)
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"(as|equally) many rows.*Received: \[\d+( \d+)*\]"):
        CALLS[call](model, parts["x"]["x"], parts["y"], parts["sample_weight"])
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_py_dataset_without_weights():
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return small_models.full_data(8, seed=index)

    model, expected = small_models.model(), small_models.model()
    batches = [small_models.full_data(8, seed=index) for index in range(3)]
    for each in (model, expected):
        each.compile("sgd", loss=small_models.LOSS)
    logs = model.fit(Batches(), validation_data=Batches(), shuffle=False, verbose=0).history
    expected_logs = expected.fit(iter(batches), validation_data=iter(batches), verbose=0).history
    assert logs.keys() == expected_logs.keys()
    np.testing.assert_allclose(list(logs.values()), list(expected_logs.values()), rtol=1e-5)
    assert model.evaluate(Batches(), verbose=0, return_dict=True)["loss"] == pytest.approx(logs["val_loss"][0])


BAD_LABELS = {
    "strings": (np.array(["a", "b", "c"])[small_models.full_data(8)[1]["topic"]], r"class indices from 0 to 2.*\['"),
    "None": (np.array([0, None] * 4), "class indices.*None.*NaN and the weight 0"),
}


@pytest.mark.parametrize("call", ["fit", "evaluate", "train_on_batch"])
@pytest.mark.parametrize("kind", BAD_LABELS)
def test_labels_that_are_no_numbers(kind, call):
    labels, message = BAD_LABELS[kind]
    x, y = small_models.full_data(8)
    model = small_models.model()
    model.compile("sgd", loss=small_models.LOSS)
    with pytest.raises(ValueError, match=message):
        getattr(model, call)(x, {**y, "topic": labels})


def test_strings_for_labels_in_a_data_set():  # `tf.data` itself refuses None
    x, y = small_models.full_data(8)
    model = small_models.model()
    model.compile("sgd", loss=small_models.LOSS)
    with pytest.raises(ValueError, match="class indices from 0 to 2, received strings"):
        model.fit(small_models.batches((x, {**y, "topic": BAD_LABELS["strings"][0]})))


@pytest.mark.parametrize("form", ["arrays", "dataset"])
def test_a_model_that_replaces_nan_in_its_inputs(form, tmp_path):
    x = keras.Input((6,))
    h = keras.layers.Dense(4)(keras.ops.where(keras.ops.isnan(x), 0.0, x))
    model = mtl.MultiTaskModel(x, {"topic": keras.layers.Dense(3)(h), "price": keras.layers.Dense(1)(h)})
    inputs, y = small_models.full_data(8)
    inputs[3, 2] = np.nan
    data = (inputs, y) if form == "arrays" else (small_models.batches((inputs, y)),)
    model.compile("sgd", loss=small_models.LOSS)
    with pytest.raises(ValueError, match="`x` must not hold NaN"):
        model.fit(*data, verbose=0)
    model.compile("sgd", loss=small_models.LOSS, check_inputs=False)
    model.save(tmp_path / "model.keras")
    logs = keras.models.load_model(tmp_path / "model.keras").fit(*data, verbose=0).history
    assert np.isfinite(logs["loss"]).all()
    y["price"][0] = np.nan
    with pytest.raises(ValueError, match=r"`y\['price'\]` must not hold NaN"):
        model.fit(*((inputs, y) if form == "arrays" else (small_models.batches((inputs, y)),)), verbose=0)


@pytest.mark.parametrize("options", [{}, {"run_eagerly": True}, {"steps_per_execution": 2}], ids=str)
@pytest.mark.parametrize("place", ["step", "pipeline"])
@pytest.mark.parametrize("cardinality", ["known", "unknown"])
def test_the_check_precedes_the_step(place, options, cardinality, monkeypatch):
    """On a GPU it is part of the pipeline, otherwise of the step; the message is the same, and training stops there."""
    monkeypatch.setattr(stream, "gpus", lambda: ["GPU"] if place == "pipeline" else [])
    x, y = small_models.full_data(16)
    y["topic"][13] = 7
    model = small_models.model()
    model.compile("sgd", loss=small_models.LOSS, **options)
    data = small_models.batches((x, y), 4)
    data = data if cardinality == "known" else data.filter(lambda *batch: True)
    message = r"^`y\['topic'\]` must be class indices from 0 to 2 where .* Received: \[7.*\]\.$"
    with pytest.raises(ValueError, match=message):
        model.evaluate(data, verbose=0)
    with pytest.raises(ValueError, match=message):
        model.fit(data, verbose=0)
    assert int(model.optimizer.iterations) == 3
    if options:
        return
    traced = model.train_function
    y["topic"][13] = 0
    data = small_models.batches((x, y), 4)
    model.fit(data if cardinality == "known" else data.filter(lambda *batch: True), verbose=0)
    assert model.train_function is traced


@pytest.mark.parametrize("place", ["step", "pipeline"])
@pytest.mark.parametrize("options", [{}, {"steps_per_execution": 2}], ids=str)
def test_a_refused_batch_changes_no_weight(options, place, monkeypatch):
    """Nor the statistics of another input than the one that the check is tied to."""
    monkeypatch.setattr(stream, "gpus", lambda: ["GPU"] if place == "pipeline" else [])
    p, q = keras.Input((2,), name="p"), keras.Input((2,), name="q")
    h = keras.layers.BatchNormalization()(q)
    a = keras.layers.Dense(3)(p)
    model = mtl.MultiTaskModel({"p": p, "q": q}, {"a": keras.layers.Dense(1)(a), "b": keras.layers.Dense(1)(h)})
    model.compile("sgd", loss="mse", **options)
    x = {"p": np.ones((4, 2), "float32"), "q": np.arange(8, dtype="float32").reshape(4, 2)}
    y = {"a": np.array([0, 1, np.nan, 1], "float32"), "b": np.ones(4, "float32")}
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(4).repeat(2)
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"`y\['a'\]` must not hold NaN"):
        model.fit(data, verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
