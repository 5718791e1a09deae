"""TabularEncoder: its vectors, its gradient, and feature spaces."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

FeatureSpace = keras.utils.FeatureSpace


def test_embeddings_are_concatenated_with_numbers():
    encoder = mtl.encoders.TabularEncoder(["age", "hours"], {"job": 3, "city": 4}, dim=2)
    columns = {"age": [0.5, -1.0], "hours": [[2.0], [3.0]], "job": [2, 0], "city": [[0], [3]]}
    columns = {name: np.array(values) for name, values in columns.items()}
    vectors = encoder(columns).numpy()
    table = encoder.embeddings.numpy()
    assert table.shape == (7, 2)
    np.testing.assert_allclose(vectors[0], [*table[2], *table[3 + 0], 0.5, 2.0])
    np.testing.assert_allclose(vectors[1], [*table[0], *table[3 + 3], -1.0, 3.0])


def test_one_kind_of_columns():
    assert mtl.encoders.TabularEncoder(["a"])({"a": np.ones(3)}).shape == (3, 1)
    assert mtl.encoders.TabularEncoder(categorical={"a": 2}, dim=3)({"a": np.ones((3, 1))}).shape == (3, 3)


def test_the_gradient_of_the_embeddings_is_dense_and_exact():
    encoder = mtl.encoders.TabularEncoder([], {"job": 3}, dim=1)
    columns = {"job": np.array([0, 0, 2])}
    encoder(columns)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(encoder(columns) * [[1.0], [2.0], [5.0]])
    gradient = tape.gradient(total, encoder.embeddings.value)
    assert isinstance(gradient, tf.Tensor)
    np.testing.assert_allclose(gradient, [[3.0], [0.0], [5.0]])


def test_from_features():
    raw = {
        "age": np.array([20.0, 40.0, 60.0, 80.0], "float32"),
        "height": np.array([1.0, 2.0, 3.0, 5.0], "float32"),
        "job": np.array(["cook", "smith", "cook", "baker"]),
        "code": np.array([7, 9, 9, 7]),
        "town": np.array(["a", "b", "c", "d"]),
    }
    space = FeatureSpace(
        {
            "age": FeatureSpace.float_normalized(),
            "height": FeatureSpace.float_discretized(3, output_mode="int"),
            "job": FeatureSpace.string_categorical(output_mode="int"),
            "code": FeatureSpace.integer_categorical(output_mode="int"),
            "town": FeatureSpace.string_hashed(5, output_mode="int"),
        },
        crosses=[FeatureSpace.cross(("job", "code"), crossing_dim=6, output_mode="int")],
        output_mode="dict",
    )
    space.adapt(tf.data.Dataset.from_tensor_slices(raw).batch(2))
    encoder = mtl.encoders.TabularEncoder.from_features(space, dim=2)
    assert encoder.numeric == ["age"]
    assert encoder.categorical == {"height": 3, "job": 4, "code": 3, "town": 5, "job_X_code": 6}
    encoded = space(raw)
    for name, size in encoder.categorical.items():
        assert int(tf.reduce_max(encoded[name])) < size
    vectors = encoder(encoded).numpy()
    assert vectors.shape == (4, 11)
    ages = np.array([20, 40, 60, 80])
    np.testing.assert_allclose(vectors[:, -1], (ages - ages.mean()) / ages.std(), rtol=1e-4)

    model = mtl.build_model(encoder.inputs(), mtl.trunks.HardSharing(encoder), [mtl.tasks.Regression("y")])
    assert model.predict({name: np.array(x) for name, x in encoded.items()}, verbose=0)["y"].shape == (4, 1)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_config_and_dropout(dropout):
    encoder = mtl.encoders.TabularEncoder(["a"], {"b": 3}, dim=2, dropout=dropout)
    copy = mtl.encoders.TabularEncoder.from_config(encoder.get_config())
    assert copy.get_config() == encoder.get_config()
    columns = {"a": np.ones(200), "b": np.zeros(200)}
    dropped = np.mean(copy(columns, training=True).numpy() == 0)
    assert abs(dropped - dropout) < 0.1
    assert np.all(copy(columns).numpy() != 0)


def test_columns_that_do_not_fit():
    encoder = mtl.encoders.TabularEncoder([], {"job": 2, "city": 3}, dim=2)
    vectors = encoder({"job": np.array([2, -1, 1]), "city": np.array([0, 0, 9])}).numpy()
    assert np.all(vectors[:2, :2] == 0)
    assert np.all(vectors[2, 2:] == 0)
    assert np.all(vectors[2, :2] != 0)
    with pytest.raises(ValueError, match=r"Column 'n' must be \[B\] or \[B, 1\], received the shape \(3, 2\)"):
        mtl.encoders.TabularEncoder(["n"])({"n": np.ones((3, 2))})
    with pytest.raises(TypeError, match="`numeric` must be a list of columns, received 'age'"):
        mtl.encoders.TabularEncoder("age")
