"""Files that version 0.1 wrote load with today's code, answer the same, and train on to the same weights."""

import shutil

import keras
import numpy as np
import pytest
import runs_of_0_1 as runs
import tensorflow as tf

import tf_mtl as mtl


def expected(name, kind):
    with np.load(runs.FILES / f"{name}.npz") as file:
        return {key.removeprefix(f"{kind}/"): file[key] for key in file.files if key.startswith(f"{kind}/")}


def check_trained(name, model, logs):
    for key, values in expected(name, "log").items():
        np.testing.assert_allclose(logs[key], values, rtol=1e-4, atol=1e-5, err_msg=key)
    weights = expected(name, "weight").values()
    for variable, value in zip(model.weights, weights, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-3, atol=1e-5, err_msg=variable.path)


@pytest.mark.parametrize("name", runs.RUNS)
def test_a_saved_model_answers_and_trains_on(name):
    _, data = runs.RUNS[name]
    model = keras.models.load_model(runs.FILES / f"{name}.keras")
    outputs = model.predict(data(), verbose=0)
    for task, values in expected(name, "output").items():
        np.testing.assert_allclose(outputs[task], values, rtol=1e-4, atol=1e-5, err_msg=task)
    check_trained(name, model, model.fit(data(), epochs=2, verbose=0).history)


def test_a_checkpoint_of_a_run_is_resumed(tmp_path):
    shutil.copytree(runs.FILES / "checkpoints", tmp_path / "checkpoints")
    model, logs = runs.train_with_checkpoints(tmp_path / "checkpoints", epochs=3)
    assert int(model.optimizer.iterations) == 9
    check_trained("checkpoints", model, logs)


def test_an_export_answers():
    answers = tf.saved_model.load(str(runs.FILES / "export" / "1")).signatures["serving_default"](
        x=tf.constant(runs.columns()[0])
    )
    model = keras.models.load_model(runs.FILES / "tabular.keras")
    decoded = model.decode(model.predict(runs.columns()[0], verbose=0))
    with np.load(runs.FILES / "export.npz") as file:
        assert sorted(answers) == sorted(file.files)
        for name, value in answers.items():
            if value.dtype == tf.string:
                assert value.numpy().tolist() == file[name].tolist()
            else:
                np.testing.assert_allclose(value.numpy(), file[name], rtol=1e-4, atol=1e-5, err_msg=name)
                task, _, key = name.partition("_")
                np.testing.assert_allclose(decoded[task][key], file[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_an_export_is_checked():
    mtl.export.check(runs.FILES / "export" / "1", keras.models.load_model(runs.FILES / "tabular.keras"))


def test_a_preprocessor():
    ids = mtl.text.load(runs.FILES / "words.json")(runs.TEXTS)["token_ids"]
    np.testing.assert_array_equal(ids, runs.preprocessor()(runs.TEXTS)["token_ids"])
