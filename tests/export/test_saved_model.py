import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.export import _model_card

WORDS = ["good", "bad", "ship", "late", "not", "very"]
TEXTS = ["good ship", "very very bad, late", "", "not good not bad"]
TENSORFLOW_ONLY = """
import json, sys
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
texts = tf.constant(json.loads(sys.argv[2]))
answers = {}
for name, signature in loaded.signatures.items():
    if "text" in signature.structured_input_signature[1]:
        answers[name] = {k: v.numpy().tolist() for k, v in signature(text=texts).items()}
assert not [m for m in sys.modules if m.split(".")[0] in ("tf_mtl", "keras_hub", "tensorflow_text")]
print(json.dumps(answers, default=bytes.decode))
"""


def text_model(dtype="float32"):
    keras.config.set_dtype_policy(dtype)
    try:
        encoder = mtl.encoders.TransformerEncoder(9, 6, dim=16, layers=1, heads=2)
        tasks = [
            mtl.tasks.Classification("topic", labels=["food", "travel", "sport"], hidden_units=32),
            mtl.tasks.BinaryClassification("urgent"),
            mtl.tasks.MultiLabel("tags", labels=["new", "used"]),
            mtl.tasks.Regression("stars", scale=3.0, low=1, high=5),
        ]
        return mtl.build_model(keras.Input((6,), dtype="int32", name="ids"), mtl.trunks.HardSharing(encoder), tasks)
    finally:
        keras.config.set_dtype_policy("float32")


def vectorizer():
    return keras.layers.TextVectorization(vocabulary=WORDS, output_sequence_length=6)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    keras.utils.set_random_seed(7)
    model, preprocessor = text_model(), vectorizer()
    path = mtl.export.saved_model(model, tmp_path_factory.mktemp("export"), preprocessor=preprocessor)
    return model, preprocessor, path


def answers_by_output(model, preprocessor):
    answers_by_task = model.decode(model.predict(preprocessor(tf.constant(TEXTS)), verbose=0))
    return {f"{task}_{key}": value for task, parts in answers_by_task.items() for key, value in parts.items()}


def test_names_of_signatures_inputs_and_outputs(exported):
    _, _, path = exported
    signatures = tf.saved_model.load(str(path)).signatures
    tasks = ["topic", "urgent", "tags", "stars"]
    assert set(signatures) == {"serving_default", *tasks, "tensors", *(f"tensors_{task}" for task in tasks)}
    outputs = {
        "topic": {"topic_label", "topic_score"},
        "urgent": {"urgent_label", "urgent_score"},
        "tags": {"tags_labels", "tags_scores"},
        "stars": {"stars_value", "stars_raw"},
    }
    for task, names in outputs.items():
        assert set(signatures[task].structured_outputs) == names
    assert set(signatures["serving_default"].structured_outputs) == set.union(*outputs.values())
    assert list(signatures["serving_default"].structured_input_signature[1]) == ["text"]
    assert list(signatures["tensors_topic"].structured_input_signature[1]) == ["ids"]
    for signature in signatures.values():
        assert all(spec.shape[0] is None for spec in signature.structured_outputs.values())


def test_a_process_with_only_tensorflow_gives_the_models_answers(exported):
    model, preprocessor, path = exported
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", TENSORFLOW_ONLY, str(path), json.dumps(TEXTS)]
    process = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/")
    assert process.returncode == 0, process.stderr
    answers = json.loads(process.stdout.splitlines()[-1])
    expected = answers_by_output(model, preprocessor)
    assert set(answers) == {"serving_default", "topic", "urgent", "tags", "stars"}
    assert {name for outputs in answers.values() for name in outputs} == set(expected)
    for outputs in answers.values():
        for name, value in outputs.items():
            if expected[name].dtype.kind == "U":
                assert value == expected[name].tolist()
            else:
                np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6)
    assert set(answers["topic"]["topic_label"]) <= {"food", "travel", "sport"}


def test_tensor_signatures_give_the_same_outputs(exported):
    model, preprocessor, path = exported
    signatures = tf.saved_model.load(str(path)).signatures
    outputs = signatures["tensors"](ids=tf.cast(preprocessor(tf.constant(TEXTS)), tf.int32))
    for name, value in answers_by_output(model, preprocessor).items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(outputs[name], value, rtol=1e-5, atol=1e-6)


def test_weights_are_stored_once(exported):
    model, _, path = exported
    size = sum(v.numpy().nbytes for v in model.variables)
    stored = sum(file.stat().st_size for file in (path / "variables").glob("*.data*"))
    assert size <= stored < 1.1 * size + 8192
    shapes = [shape for _, shape in tf.train.list_variables(str(path / "variables" / "variables"))]
    assert shapes.count([16, 32]) == 1  # the hidden layer of one head


def test_a_tasks_signature_lacks_the_other_heads(exported):
    model, _, path = exported
    loaded = tf.saved_model.load(str(path))
    signatures = loaded.signatures

    def variables(name):
        return {tuple(v.shape) for v in signatures[name].variables}

    assert (16, 32) in variables("topic")
    assert (16, 32) not in variables("stars") | variables("tags") | variables("urgent")
    assert (16, 32) in variables("serving_default")
    variable_counts = {name: len(signature.variables) for name, signature in signatures.items()}
    assert variable_counts["serving_default"] == len(model.trainable_variables)
    assert variable_counts["stars"] == variable_counts["serving_default"] - 4 - 2 - 2


def test_version_numbers_increase_and_versions_are_never_overwritten(tmp_path):
    model = mtl.build_model(
        {name: keras.Input((2,), name=name) for name in ("left", "right")},
        mtl.trunks.HardSharing(lambda x: keras.layers.Dense(2)(keras.layers.Concatenate()([x["left"], x["right"]]))),
        [mtl.tasks.Regression("a")],
    )
    first = mtl.export.saved_model(model, tmp_path)
    second = mtl.export.saved_model(model, str(tmp_path), version=7, check=False)
    third = mtl.export.saved_model(model, tmp_path, check=False)
    assert [path.name for path in (first, second, third)] == ["1", "7", "8"]
    with pytest.raises(FileExistsError, match="Version 7"):
        mtl.export.saved_model(model, tmp_path, version=7)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "7", "8"]
    signature = tf.saved_model.load(str(first)).signatures["serving_default"]
    x = {"left": tf.ones((3, 2)), "right": tf.zeros((3, 2))}
    np.testing.assert_allclose(signature(**x)["a_raw"], model(x)["a"][:, 0], rtol=1e-6)


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    def broken(*args):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        mtl.export.saved_model(text_model(), tmp_path, preprocessor=broken)
    monkeypatch.setattr(_model_card, "write", broken)
    with pytest.raises(RuntimeError, match="broken"):
        mtl.export.saved_model(text_model(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_models_that_cannot_be_exported(tmp_path):
    trunk = mtl.trunks.HardSharing(keras.layers.Dense(2))
    model = mtl.build_model(keras.Input((2,), name="x"), trunk, [mtl.tasks.Regression("tensors")])
    with pytest.raises(ValueError, match="'tensors' names another signature"):
        mtl.export.saved_model(model, tmp_path)


SIGNATURES = {True: {}, False: {"signatures": {}}}  # without the check, `serving_default` only
with_and_without_check = pytest.mark.parametrize("check", [False, pytest.param(True, marks=pytest.mark.slow)])


@with_and_without_check
def test_a_model_in_mixed_precision_exports_float32(check, tmp_path):
    path = mtl.export.saved_model(
        text_model("mixed_bfloat16"), tmp_path, preprocessor=vectorizer(), check=check, **SIGNATURES[check]
    )
    outputs = tf.saved_model.load(str(path)).signatures["serving_default"].structured_outputs
    assert {spec.dtype for spec in outputs.values()} == {tf.float32, tf.string}


@with_and_without_check
def test_a_model_built_under_a_strategy_is_exported(check, tmp_path):
    with mtl.distribute.strategy("mirrored").scope():
        model = text_model()
    path = mtl.export.saved_model(model, tmp_path, preprocessor=vectorizer(), check=check, **SIGNATURES[check])
    outputs = tf.saved_model.load(str(path)).signatures["serving_default"](text=tf.constant(TEXTS))
    expected = answers_by_output(model, vectorizer())
    np.testing.assert_allclose(outputs["stars_raw"], expected["stars_raw"], rtol=1e-5, atol=1e-6)
    assert Path(path).name == "1"


def test_a_model_without_task_objects_exports_its_outputs(tmp_path):
    x = keras.Input((2,), name="x")
    model = mtl.MultiTaskModel(x, {"a": keras.layers.Dense(1)(x), "b": keras.layers.Dense(3)(x)})
    path = mtl.export.saved_model(model, tmp_path)
    mtl.export.check(path, model, np.ones((3, 2)))
    signatures = tf.saved_model.load(str(path)).signatures
    expected = model(tf.ones((3, 2)))
    for name, tasks in {"serving_default": ["a", "b"], "a": ["a"], "b": ["b"]}.items():
        outputs = signatures[name](x=tf.ones((3, 2)))
        assert sorted(outputs) == tasks
        for task in tasks:
            np.testing.assert_allclose(outputs[task], expected[task], rtol=1e-6)
    card = json.loads((path / "model_card.json").read_text())
    assert card["tasks"] == [{"kind": "raw output", "name": "a"}, {"kind": "raw output", "name": "b"}]
    for text in (card["note"], (path / "README.md").read_text()):
        assert "no task objects" in text
