"""Heads that read other heads: graph, partition, training, missing labels, signatures, errors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

T = mtl.tasks


def vectors(*tasks, width=4):
    keras.utils.set_random_seed(0)
    return mtl.build_model(
        keras.Input((width,), name="x"), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8])), list(tasks)
    )


def names(variables):
    return {v.path for v in variables}


def test_a_head_reads_what_another_gives():
    """The weights of the reading head that belong to the other's probability act on it."""
    click = T.BinaryClassification("click")
    model = vectors(T.Regression("paid", after={"click": "probabilities"}), click)
    assert list(model.output) == ["paid", "click"]
    kernel, bias = model.get_layer("paid_standardised").get_weights()
    assert kernel.shape == (9, 1)
    model.get_layer("paid_standardised").set_weights([np.r_[np.zeros(8), 1.0][:, None], bias])
    x = np.random.default_rng(0).normal(size=(5, 4))
    outputs = model.predict(x, verbose=0)
    np.testing.assert_allclose(outputs["paid"], 1 / (1 + np.exp(-outputs["click"])), rtol=1e-5)


def test_hidden_features_and_outputs():
    model = vectors(
        T.Regression("a", hidden_units=3), T.Regression("b", after={"a": "hidden"}), T.Regression("c", after="a")
    )
    assert model.get_layer("b_standardised").kernel.shape == (8 + 3, 1)
    assert model.get_layer("c_standardised").kernel.shape == (8 + 1, 1)
    with pytest.raises(ValueError, match="reads the hidden layer of task 'c', which has none: set its `hidden_units`"):
        vectors(T.Regression("c"), T.Regression("d", after={"c": "hidden"}))
    with pytest.raises(ValueError, match="reads the probabilities of task 'c', which has none: read its output"):
        vectors(T.Regression("c"), T.Regression("d", after={"c": "probabilities"}))


@pytest.mark.parametrize("gradients", [True, False])
def test_partition_and_missing_labels(gradients):
    """With gradients the head that is read is shared; without, it stays its task's own."""
    model = vectors(T.BinaryClassification("click"), T.Regression("paid", after=("click",), after_gradients=gradients))
    parts = mtl.partition(model)
    of_click = {"click/kernel", "click/bias"}
    assert (of_click <= names(parts.shared)) == gradients
    assert (of_click == names(parts.own["click"])) != gradients
    before = [v.numpy() for v in model.get_layer("click").variables]
    model.compile(keras.optimizers.Adam(0.1), balancing="upgrad", gradients="features", jit_compile=False)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 4)), {"click": np.full(16, np.nan), "paid": rng.normal(size=16)}
    model.fit(x, y, sample_weight={"click": np.zeros(16)}, verbose=0)
    changed = [
        not np.array_equal(a, v.numpy()) for a, v in zip(before, model.get_layer("click").variables, strict=True)
    ]
    assert changed == [gradients, gradients]


@pytest.mark.parametrize(
    ("balancing", "gradients"), [("equal", "parameters"), ("mgda", "parameters"), ("mgda", "features")]
)
@pytest.mark.parametrize("after_gradients", [True, False])
def test_two_replicas_equal_one(balancing, gradients, after_gradients):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 4)).astype("float32"), {"a": rng.normal(size=16), "b": rng.normal(size=16)}
    weights = []
    for name in ("one_device", "mirrored"):
        with mtl.distribute.strategy(name).scope():
            model = vectors(
                T.Regression("a", hidden_units=3),
                T.Regression("b", after={"a": "hidden"}, after_gradients=after_gradients),
            )
            model.compile(keras.optimizers.SGD(0.1), balancing=balancing, gradients=gradients, jit_compile=False)
        model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-5)


def words(*tasks):
    keras.utils.set_random_seed(0)
    inputs = {
        "token_ids": keras.Input((None,), dtype="int32", name="token_ids"),
        "padding_mask": keras.Input((None,), dtype="int32", name="padding_mask"),
    }
    encoder = mtl.encoders.RecurrentEncoder(20, dim=4, units=3, dropout=0.0)
    return mtl.build_model(inputs, mtl.trunks.HardSharing(encoder), list(tasks))


def tokens(length=6):
    ids = np.array([[3, 4, 5, 6, 0, 0], [7, 8, 0, 0, 0, 0]])[:, :length]
    return {"token_ids": ids, "padding_mask": (ids > 0).astype("int32")}


@pytest.mark.parametrize("crf", [False, True])
@pytest.mark.parametrize("part", ["output", "probabilities", "hidden"])
def test_words_and_texts_read_each_other(crf, part):
    """Padding does not change what a text reads of its words, nor words of their text."""
    tags = T.Tagging("tags", labels=["O", "B-x", "I-x"], crf=crf, hidden_units=4)
    model = words(
        T.Classification("topic", labels=3, after={"tags": part}),
        tags,
        T.Tagging("pos", labels=3, scheme="none", after={"tags": part, "topic": "output"}),
    )
    whole, short = (model.predict_on_batch(tokens(length)) for length in (6, 4))
    np.testing.assert_allclose(whole["topic"], short["topic"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        whole["pos"][:, :4][tokens(4)["padding_mask"] > 0],
        short["pos"][tokens(4)["padding_mask"] > 0],
        rtol=1e-4,
        atol=1e-6,
    )
    model.compile("adam", jit_compile=False)
    y = {"topic": np.array([0, 2]), "tags": np.zeros((2, 6), int), "pos": np.ones((2, 6), int)}
    history = model.fit(tokens(), y, epochs=2, verbose=0).history
    assert np.isfinite([values for values in history.values()]).all()


def test_saved_cloned_alone_and_described(tmp_path):
    tasks = [T.Regression("a", hidden_units=3), T.Regression("b", after={"a": "hidden"}), T.Regression("c")]
    model = vectors(*tasks)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.tasks[1].after == {"a": "hidden"}
    np.testing.assert_allclose(loaded.predict(x, verbose=0)["b"], expected["b"], rtol=1e-6)
    single = model.single_task("b", copy=True)
    np.testing.assert_allclose(single.predict(x, verbose=0)["b"], expected["b"], rtol=1e-6)
    assert {layer.name for layer in single.layers} >= {"a_hidden", "b"}
    assert "a" not in {layer.name for layer in single.layers}
    sharing = model.describe_sharing(None)
    trunk, of_a, of_b = 4 * 8 + 8, 8 * 3 + 3, 11 + 1
    assert sharing.single_task == {"a": trunk + of_a + 4, "b": trunk + of_a + of_b, "c": trunk + 9}


def test_a_signature_holds_what_its_task_reads(tmp_path, capsys):
    model = vectors(
        T.BinaryClassification("click"), T.Regression("paid", after={"click": "probabilities"}), T.Regression("age")
    )
    path = mtl.export.saved_model(model, tmp_path / "export")
    loaded = tf.saved_model.load(str(path))
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    outputs = loaded.signatures["paid"](x=tf.constant(x))
    assert set(outputs) == {"paid_value", "paid_raw"}
    np.testing.assert_allclose(outputs["paid_raw"], model.predict(x, verbose=0)["paid"][:, 0], rtol=1e-5)
    rows = {
        line.split("|")[1].strip(): line.split("|")[6].strip()
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("| ")
    }
    trunk = 4 * 8 + 8
    assert {name: rows[name] for name in ("click", "paid", "age")} == {
        "click": f"{trunk + 9}",
        "paid": f"{trunk + 9 + 10}",
        "age": f"{trunk + 9}",
    }


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([("a", ("b",)), ("b", ("a",))], r"`after` must not lead back .*\['a', 'b'\]"),
        ([("a", ("a",)), ("b", ())], "`after` of task 'a' must name other tasks"),
        ([("price", ()), ("b", ("prize",))], "received 'prize'.*Did you mean 'price'"),
        (
            [("a", {"b": "logits"}), ("b", ())],
            r"`after\['b'\]` of task 'a' must be one of \['output', 'probabilities', 'hidden'\]",
        ),
    ],
)
def test_errors(tasks, message):
    with pytest.raises(ValueError, match=message):
        vectors(*(T.Regression(name, after=after) for name, after in tasks))
