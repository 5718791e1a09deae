"""`export.check` finds faults in exports."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.export import _check, _requests


def build(units=8):
    tasks = [mtl.tasks.Regression("stars", hidden_units=5), mtl.tasks.Classification("kind", 3)]
    return mtl.build_model(keras.Input((4,), name="x"), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([units])), tasks)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    keras.utils.set_random_seed(7)
    model = build()
    return model, mtl.export.saved_model(model, tmp_path_factory.mktemp("check"), check=False)


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported[1], tmp_path / "1")


def replace_graph(folder, answers, variables=()):
    """Replace the graph in an export's folder by one with the given signatures."""
    archive = keras.export.ExportArchive()
    for name, answer in answers.items():
        archive.add_endpoint(name, answer, [tf.TensorSpec((None, 4), tf.float32, name="x")])
    if variables:
        archive.add_variable_collection("spare", list(variables))
    shutil.rmtree(folder / "variables")
    other_files = {name: (folder / name).read_bytes() for name in ("model_card.json", str(_requests.FILE))}
    archive.write_out(str(folder), verbose=False)
    for name, content in other_files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


def answers(model, change=lambda outputs: outputs, unpruned=()):
    """Return a function per signature; those of the tasks in `unpruned` compute all heads."""

    def pruned(tasks):
        part_of_model = keras.Model(model.input, {task: model.output[task] for task in tasks})
        task_by_name = {task.name: task for task in model.tasks}

        def answer(x):
            outputs = change(part_of_model(x, training=False))
            return {f"{name}_{k}": v for name in tasks for k, v in task_by_name[name].decode(outputs[name]).items()}

        return answer

    def filtered(task):
        all_answers = pruned(model.task_names)
        return lambda x: {k: v for k, v in all_answers(x).items() if k.startswith(task)}

    single = {task: filtered(task) if task in unpruned else pruned([task]) for task in model.task_names}
    return {"serving_default": pruned(model.task_names), **single}


def edit_card(folder, change):
    card = json.loads((folder / "model_card.json").read_text())
    change(card)
    (folder / "model_card.json").write_text(json.dumps(card))


def test_a_correct_export_passes_and_prints_its_table(exported, capsys, fresh_process):
    model, path = exported
    mtl.export.check(path)
    mtl.export.check(path, model, np.random.default_rng(1).normal(size=(20, 4)))
    printed = capsys.readouterr().out
    assert printed.count("| serving_default |") == 2
    assert f"Weights: {4 * model.count_params():,} bytes." in printed


def test_the_same_graph_written_by_keras_passes(exported, copy):
    replace_graph(copy, answers(exported[0]))
    mtl.export.check(copy)


def test_answers_that_differ_from_the_model(exported, copy):
    model, path = exported
    replace_graph(copy, answers(model, lambda outputs: {k: v * 1.001 for k, v in outputs.items()}))
    with pytest.raises(ValueError, match="'serving_default' differs from the model by"):
        mtl.export.check(copy)
    keras.utils.set_random_seed(8)
    other = build()
    with pytest.raises(ValueError, match="'stars' differs from the model by"):
        mtl.export.check(path, other)


def test_answers_that_depend_on_the_batch(exported, copy):
    replace_graph(copy, answers(exported[0], lambda o: {k: v - tf.reduce_mean(v, 0) for k, v in o.items()}))
    with pytest.raises(ValueError, match="'stars' gives other outputs for a row alone than in its batch"):
        mtl.export.check(copy)


def test_a_signature_with_another_tasks_head(exported, copy):
    replace_graph(copy, answers(exported[0], unpruned=["kind"]))
    with pytest.raises(ValueError, match="'kind' reaches 8 variables, but its tasks have 4"):
        mtl.export.check(copy)


def test_weights_stored_twice(exported, copy):
    copies = [tf.Variable(v.numpy()) for v in exported[0].weights]
    replace_graph(copy, answers(exported[0]), copies)
    with pytest.raises(ValueError, match="bytes of weights are stored"):
        mtl.export.check(copy)


def test_xla_is_refused(exported, copy, fresh_process):
    compiled = tf.function(lambda x: x * 1, jit_compile=True)
    replace_graph(copy, answers(exported[0], lambda outputs: {k: compiled(v) for k, v in outputs.items()}))
    with pytest.raises(ValueError, match="XLA"):
        mtl.export.check(copy)


@pytest.mark.parametrize("size", [0, 10, None])
def test_a_warm_up_file_that_is_missing_or_cut_off(copy, size):
    file = copy / _requests.FILE
    content = file.read_bytes()
    file.unlink()
    if size is not None:
        file.write_bytes(content[:size])
    with pytest.raises(ValueError, match=r"warm-up file is missing or cut off, .*request to \['.*serving_default"):
        mtl.export.check(copy)


def test_a_warm_up_file_with_half_a_record_after_its_requests(copy):
    file = copy / _requests.FILE
    file.write_bytes(file.read_bytes() + file.read_bytes()[:50])
    with pytest.raises(ValueError, match="warm-up file is damaged after its requests"):
        mtl.export.check(copy)


def test_a_missing_signature(exported, copy):
    edit_card(copy, lambda card: card["signatures"].update(price=card["signatures"]["stars"]))
    with pytest.raises(ValueError, match="'price' is missing"):
        mtl.export.check(copy)


def test_a_signature_that_is_not_in_the_model_card(copy):
    edit_card(copy, lambda card: card["signatures"].pop("stars"))
    with pytest.raises(
        ValueError, match=r"requests to unknown signatures, \['stars'\].*'stars' is not in the model card"
    ):
        mtl.export.check(copy)


def test_a_signature_that_is_not_in_the_graph(exported, copy):
    replace_graph(copy, {k: v for k, v in answers(exported[0]).items() if k != "stars"})
    with pytest.raises(ValueError, match="'stars' is missing"):
        mtl.export.check(copy)


def test_a_warm_up_file_without_expected_outputs(copy):
    requests = [
        _requests.Request(request.signature, request.inputs, request.expected if request.signature == "kind" else {})
        for request in _requests.read(copy / _requests.FILE)
    ]
    _requests.write(copy / _requests.FILE, requests, "check")
    with pytest.raises(ValueError, match=r"no expected outputs of \['serving_default', 'stars'\]"):
        mtl.export.check(copy)


def test_the_tolerance_in_the_model_card_is_not_trusted(exported, copy):
    edit_card(copy, lambda card: card.update(tolerance=1e9))
    mtl.export.check(copy)
    replace_graph(copy, answers(exported[0], lambda outputs: {k: v * 1.001 for k, v in outputs.items()}))
    with pytest.raises(ValueError, match="'serving_default' differs from the model by .*, more than 1e-05"):
        mtl.export.check(copy)


def in_bfloat16(outputs):
    return {k: tf.cast(tf.cast(v, tf.bfloat16) * tf.cast(1.004, tf.bfloat16), tf.float32) for k, v in outputs.items()}


@pytest.mark.parametrize("error", [0.0, 0.5])
def test_the_tolerance_of_a_graph_with_16_bits(exported, copy, error):
    edit_card(copy, lambda card: card.update(tolerance=0.0))
    replace_graph(copy, answers(exported[0], lambda o: {k: v + error for k, v in in_bfloat16(o).items()}))
    if error:
        with pytest.raises(ValueError, match="differs from the model by .*, more than 0.02"):
            mtl.export.check(copy)
    else:
        mtl.export.check(copy)


def cut(file):
    file.write_bytes(file.read_bytes()[:100])


VARIABLES = "variables/variables.data-00000-of-00001"


@pytest.mark.parametrize("damage", [cut, Path.unlink])
@pytest.mark.parametrize("file", ["saved_model.pb", VARIABLES, "variables/variables.index"])
def test_a_model_that_cannot_be_loaded(copy, file, damage):
    damage(copy / file)
    with pytest.raises(RuntimeError, match="could not load and run .*missing or damaged, export the model again"):
        mtl.export.check(copy)


def test_a_folder_without_a_model_card(tmp_path):
    with pytest.raises(ValueError, match="has no model_card.json"):
        mtl.export.check(tmp_path)
    with pytest.raises(ValueError, match="has no model_card.json"):
        mtl.export.check(tmp_path / "missing")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[]", b"{}", b'{"signatures": 3}', b'{"signatures": {"a": {}}}']
)
def test_a_model_card_that_is_damaged(copy, content):
    (copy / "model_card.json").write_bytes(content)
    with pytest.raises(ValueError, match="model_card.json is damaged. Export the model again"):
        mtl.export.check(copy)


def test_the_time_limit(copy, monkeypatch, fresh_process):
    monkeypatch.setattr(_check, "TIME_LIMIT_SECONDS", 0.2)
    with pytest.raises(RuntimeError, match="could not load and run .* within 0.2 seconds.*fewer rows"):
        mtl.export.check(copy)


def test_examples_that_fit_no_signature(exported):
    with pytest.raises(ValueError, match="must fit a signature; the signatures take the inputs"):
        mtl.export.check(exported[1], exported[0], {"y": np.ones((2, 4))})


def test_raw_examples_are_compared_through_the_preprocessor(tmp_path):
    words = keras.layers.TextVectorization(vocabulary=["good", "bad"], output_sequence_length=4)
    model = mtl.build_model(
        keras.Input((4,), dtype="int32", name="ids"),
        mtl.trunks.HardSharing(mtl.encoders.TransformerEncoder(5, 4, dim=8, layers=1, heads=2)),
        [mtl.tasks.Regression("stars")],
    )
    path = mtl.export.saved_model(model, tmp_path, preprocessor=words, check=False)
    mtl.export.check(path, model, ["good bad", "bad"], words)
    with pytest.raises(ValueError, match="Pass `preprocessor`"):
        mtl.export.check(path, model, ["good bad", "bad"])
    other_words = keras.layers.TextVectorization(vocabulary=["bad", "good"], output_sequence_length=4)
    with pytest.raises(ValueError, match="'serving_default' differs"):
        mtl.export.check(path, model, ["good bad", "bad"], other_words)


def test_an_export_that_fails_its_check_does_not_appear(tmp_path):
    x = keras.Input((4,), name="x")
    centred = keras.layers.Lambda(lambda h: h - tf.reduce_mean(h, 0, keepdims=True))
    model = mtl.build_model(x, mtl.trunks.HardSharing(centred), [mtl.tasks.Regression("stars")])
    with pytest.raises(ValueError, match="gives other outputs for a row alone than in its batch"):
        mtl.export.saved_model(model, tmp_path)
    assert not list(tmp_path.iterdir())
