"""Affinities measured during training."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 4)).astype("float32")
Y = {"a": X[:, 0], "b": X[:, 0] + X[:, 1], "c": -X[:, 0]}


def model(rate=0.05):
    keras.utils.set_random_seed(2)
    tasks = [mtl.tasks.Regression(task) for task in Y]
    built = mtl.build_model(keras.Input((4,)), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([6])), tasks)
    built.compile(keras.optimizers.SGD(rate))
    return built


def batches():
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)


def test_every_so_many_steps_on_one_batch_after_the_other():
    affinity = mtl.callbacks.TaskAffinity(batches(), every=3)
    still = model(rate=1e-30)  # the weights stay as they are
    still.fit(batches(), epochs=4, verbose=0, callbacks=[affinity])
    assert affinity.measurements == 5  # of 16 steps
    measured = [mtl.analysis.affinity(still, [batch]).matrix for batch in batches()]
    expected = np.mean([measured[index % 4] for index in range(5)], 0)
    np.testing.assert_allclose(affinity.result().matrix, expected, rtol=1e-4, atol=1e-34)
    assert set(affinity.result().conflicts) == set(mtl.analysis.affinity(still, batches()).cosines)


def test_steps_of_earlier_training_do_not_count():
    trained = model()
    trained.fit(batches(), epochs=3, verbose=0)  # 12 steps
    affinity = mtl.callbacks.TaskAffinity([(X, Y)], every=10)
    trained.fit(batches(), epochs=1, verbose=0, callbacks=[affinity])
    assert affinity.measurements == 0
    trained.fit(batches(), epochs=1, verbose=0, callbacks=[affinity])
    assert affinity.measurements == 1


def test_training_is_the_same():
    plain, measured = model(), model()
    affinity = mtl.callbacks.TaskAffinity([(X, Y)], every=1)
    for each, callbacks in ((plain, []), (measured, [affinity])):
        each.fit(batches(), epochs=3, verbose=0, callbacks=callbacks)
    for one, other in zip(plain.get_weights(), measured.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (np.diag(affinity.result().matrix) > 0).all()  # a step for a task reduces its own loss


def test_a_resumed_run_measures_as_one_that_was_not_stopped(tmp_path):
    whole = mtl.callbacks.TaskAffinity(batches(), every=3)
    model().fit(batches(), epochs=4, verbose=0, callbacks=[whole])
    for epochs in (2, 4):
        resumed = mtl.callbacks.TaskAffinity(batches(), every=3)
        checkpoint = mtl.callbacks.Checkpoint(tmp_path, every="1 epoch")
        model().fit(batches(), epochs=epochs, verbose=0, callbacks=[resumed, checkpoint])
    assert resumed.measurements == whole.measurements
    np.testing.assert_array_equal(resumed.result().matrix, whole.result().matrix)


def test_few_common_rows_are_reported():
    weight = {"a": np.repeat([1.0, 0.0], 16), "b": np.repeat([0.0, 1.0], 16)}
    affinity = mtl.callbacks.TaskAffinity([(X, Y, weight)], every=1)
    with pytest.warns(UserWarning, match="'a' and 'b' label less than 30%"):
        model().fit(batches(), verbose=0, callbacks=[affinity])
    assert affinity.result().few_common_rows == [("a", "b")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model().fit(batches(), verbose=0, callbacks=[mtl.callbacks.TaskAffinity([(X, Y)], every=1)])


def test_errors():
    with pytest.raises(ValueError, match="`every`"):
        mtl.callbacks.TaskAffinity([(X, Y)], every=0)
    with pytest.raises(ValueError, match="`update` must be one of"):
        mtl.callbacks.TaskAffinity([(X, Y)], every=1, update="adam")
    with pytest.raises(ValueError, match="needs measurements"):
        mtl.callbacks.TaskAffinity([(X, Y)], every=1).result()
    with pytest.raises(ValueError, match="`batches` must hold at least one"):
        model().fit(X, Y, verbose=0, callbacks=[mtl.callbacks.TaskAffinity([], every=1)])
