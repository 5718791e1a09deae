"""Several models as one: the same answers, and one export."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

X = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")


def build(tasks, name, size=4):
    made = [mtl.tasks.Classification(task, labels=3) for task in tasks]
    inputs = keras.Input((size,), name="x")
    return mtl.build_model(inputs, mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([6])), made, name=name)


def test_answers_export_and_training(tmp_path):
    models = [build(["a", "b"], "one"), build(["c"], "two")]
    model = mtl.analysis.combine(models)
    expected = {**models[0].predict(X, verbose=0), **models[1].predict(X, verbose=0)}
    predicted = model.predict(X, verbose=0)
    assert list(predicted) == ["a", "b", "c"]
    for task, output in predicted.items():
        np.testing.assert_allclose(output, expected[task], atol=1e-6)
    path = mtl.export.saved_model(model, tmp_path / "export")
    loaded = tf.saved_model.load(str(path))
    served = loaded.signatures["c"]
    np.testing.assert_allclose(served(x=X)["c_score"], models[1].answer(X)["c"]["score"], atol=1e-6)
    assert len(served.variables) >= len(models[1].variables)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(X, verbose=0)["b"], expected["b"], atol=1e-6)
    parts = mtl.partition(model)
    assert {len(parts.own["c"]), len(parts.shared)} == {len(models[1].trainable_variables), 2}
    model.compile(keras.optimizers.SGD(0.1), balancing="upgrad")
    model.fit(X, {task: np.zeros(5, int) for task in "abc"}, verbose=0)
    assert not np.allclose(models[1].predict(X, verbose=0)["c"], expected["c"])


def test_models_that_do_not_go_together():
    with pytest.raises(ValueError, match="must have the same inputs"):
        mtl.analysis.combine([build(["a"], "one"), build(["b"], "two", size=3)])
    with pytest.raises(ValueError, match="must have different tasks, received 'a' twice"):
        mtl.analysis.combine([build(["a"], "one"), build(["a", "b"], "two")])
    with pytest.raises(ValueError, match="must have different names, received 'one' twice"):
        mtl.analysis.combine([build(["a"], "one"), build(["b"], "one")])
