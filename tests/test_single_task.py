"""A model of one task, extracted from a joint model."""

import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf
from trunk_examples import TRUNKS, T, build_example, data, vectors

import tf_mtl as mtl


def data_of_task(task, kind="vectors"):
    return data(kind).map(lambda x, y, w: (x, {task: y[task]}, {task: w[task]}))


def weights(model):
    return [v.numpy() for v in model.weights]


def unchanged(before, model):
    return all(np.array_equal(*pair) for pair in zip(before, weights(model), strict=True))


@pytest.mark.parametrize("trunk", [t for t in TRUNKS if t is not T.MTAN], ids=lambda x: x.__name__)
def test_every_trunk(trunk, tmp_path):
    """The copy gives the same outputs, trains with its penalties, does not change the joint model, and can be saved."""
    joint, x = build_example(trunk, "vectors"), vectors(4)
    expected = joint(x)["b"].numpy()
    single = joint.single_task("b", copy=True)
    np.testing.assert_array_equal(single(x)["b"], expected)
    before = weights(joint)
    assert type(single.trunk) is trunk
    single.compile("adam", run_eagerly=True)
    first = weights(single)
    assert np.isfinite(single.fit(data_of_task("b"), verbose=0).history["loss"]).all()
    assert not unchanged(first, single)
    assert unchanged(before, joint)
    assert not {id(v) for v in joint.variables} & {id(v) for v in single.variables}

    single.save(tmp_path / "single.keras")
    loaded = keras.models.load_model(tmp_path / "single.keras")
    np.testing.assert_array_equal(loaded(x)["b"], single(x)["b"])
    assert (loaded.task_names, [task.name for task in loaded.tasks]) == (("b",), ["b"])


def test_images(tmp_path):
    joint = build_example(T.MTAN, "images")
    single = joint.single_task("a", copy=True)
    single.compile("adam", run_eagerly=True)
    before = weights(joint)
    single.fit(data_of_task("a", "images"), verbose=0)
    assert unchanged(before, joint)


def test_layers_are_shared_by_default():
    joint = build_example(T.HardSharing, "vectors")
    single = joint.single_task("a")
    assert single.tasks == joint.tasks[:1]
    assert {id(v) for v in single.weights} == {id(v) for v in joint.weights if not v.path.startswith("b_")}
    values_of_b = [v.numpy() for v in joint.weights if v.path.startswith("b_")]
    single.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    before = weights(joint)
    single.fit(data_of_task("a"), verbose=0)
    assert not unchanged(before, joint)
    np.testing.assert_array_equal(single(vectors(4))["a"], joint(vectors(4))["a"])
    for value, v in zip(values_of_b, [v for v in joint.weights if v.path.startswith("b_")], strict=True):
        np.testing.assert_array_equal(value, v.numpy())


def test_trains_like_plain_keras_on_the_labelled_rows():
    joint = small_models.model()
    x, y, weight = small_models.ragged_data(rows=16)
    rows = weight["price"] > 0
    inputs = keras.Input((6,))
    plain = keras.Model(inputs, joint.get_layer("price")(joint.get_layer("encoder")(inputs)))
    plain = keras.models.clone_model(plain)
    plain.set_weights(joint.single_task("price").get_weights())
    plain.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
    plain.fit(x[rows], y["price"][rows], batch_size=16, epochs=5, shuffle=False, verbose=0)
    single = joint.single_task("price", copy=True)
    single.compile(keras.optimizers.Adam(0.01), loss={"price": "mse"}, jit_compile=False)
    single.fit(
        x, {"price": y["price"]}, 16, epochs=5, shuffle=False, sample_weight={"price": weight["price"]}, verbose=0
    )
    assert small_models.largest_difference(plain.get_weights(), single.get_weights()) < 1e-5


def nested():
    """A model with two inputs, one for each task, and a nested model."""
    x, z = keras.Input((3,), name="x"), keras.Input((2,), name="z")
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "tanh"), keras.layers.Dropout(0.1)], name="in")
    h = inner(x)
    outputs = {"a": keras.layers.Dense(1, name="a")(h), "b": keras.layers.Dense(1, name="b")(z)}
    return mtl.MultiTaskModel({"x": x, "z": z}, outputs)


@pytest.mark.parametrize("copy", [False, True])
def test_models_without_task_objects_and_all_inputs(copy, tmp_path):
    joint = nested()
    x = {"x": np.ones((8, 3), "float32"), "z": np.ones((8, 2), "float32")}
    for task in ("a", "b"):
        single = joint.single_task(task, copy=copy)
        assert (single.tasks, single.trunk, list(single.input)) == ((), None, ["x", "z"])
        np.testing.assert_array_equal(single(x)[task], joint(x)[task])
        single.compile("adam", loss={task: "mse"}, run_eagerly=True)
        single.fit(x, {task: np.zeros(8)}, verbose=0)
        single.save(tmp_path / "single.keras")
        loaded = keras.models.load_model(tmp_path / "single.keras")
        np.testing.assert_array_equal(loaded(x)[task], single(x)[task])
        assert loaded.evaluate(x, {task: np.zeros(8)}, verbose=0) == single.evaluate(x, {task: np.zeros(8)}, verbose=0)


def test_frozen_layers_stay_frozen():
    joint = build_example(T.HardSharing, "vectors")
    joint.get_layer("mlp_encoder").trainable = False
    single = joint.single_task("a", copy=True)
    assert {v.path.split("/")[0] for v in single.trainable_variables} == {"a_standardised"}
    assert not joint.get_layer("mlp_encoder").trainable


def test_exports(tmp_path):
    tasks = [mtl.tasks.Regression("stars", low=1, high=5), mtl.tasks.Classification("topic", labels=["p", "q"])]
    joint = mtl.build_model(keras.Input((5,), name="x"), T.HardSharing(mtl.encoders.MLPEncoder([4])), tasks)
    single = joint.single_task("topic", copy=True)
    path = mtl.export.saved_model(single, tmp_path / "export", check=False)
    x = vectors(3)
    answers = tf.saved_model.load(str(path)).signatures["serving_default"](x=tf.constant(x))
    expected = joint.decode(joint(x))["topic"]
    assert [label.decode() for label in answers["topic_label"].numpy()] == expected["label"].tolist()


def test_two_replicas_equal_one():
    def trained():
        single = build_example(T.CrossStitch, "vectors").single_task("a", copy=True)
        single.compile(keras.optimizers.SGD(0.1), jit_compile=False)
        single.fit(data_of_task("a"), epochs=2, verbose=0)
        return single

    one = trained()
    with mtl.distribute.strategy("mirrored").scope():
        joint = build_example(T.CrossStitch, "vectors")
    two = joint.single_task("a", copy=True)
    assert two.distribute_strategy.num_replicas_in_sync == 2
    with two.distribute_strategy.scope():
        two.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    two.fit(data_of_task("a"), epochs=2, verbose=0)
    assert small_models.largest_difference(one.get_weights(), two.get_weights()) < 1e-4


def test_errors():
    joint = build_example(T.HardSharing, "vectors")
    with pytest.raises(ValueError, match=r"unknown key 'aa'.*'a'"):
        joint.single_task("aa")
    single = joint.single_task("a")
    single.compile("sgd")
    with pytest.raises(ValueError, match="'b'"):
        single.fit(data("vectors"), verbose=0)
