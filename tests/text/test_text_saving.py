"""Preprocessors in files, in SavedModels and in exports of models."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tokenizers_made as made

import tf_mtl as mtl


def save_model(pre, path):
    module = tf.Module()
    module.pre = pre
    module.preprocess = tf.function(pre.__call__, input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, str(path))


@pytest.mark.parametrize(
    "kinds", [["bert", "albert"], pytest.param(["roberta", "xlm_roberta"], marks=pytest.mark.slow)]
)
def test_a_new_process_answers_the_same(kinds, tmp_path):
    texts = [*made.TEXTS, "", "…日本 so\u3000it", "Unknown !!"]
    all_of_them = {"words": mtl.text.Words.learn(made.TEXTS, 8)}
    all_of_them |= {kind: mtl.text.Subwords(made.MADE[kind](), 12) for kind in kinds}
    expected = {}
    for kind, pre in all_of_them.items():
        assert mtl.text.save(pre, tmp_path / f"{kind}.json") == tmp_path / f"{kind}.json"
        save_model(pre, tmp_path / kind)
        expected[kind] = {name: value.numpy().tolist() for name, value in pre(texts).items()}
        expected[f"exported {kind}"] = expected[kind]
    script = Path(__file__).with_name("reload_texts.py")
    command = [sys.executable, script, tmp_path, json.dumps(texts), json.dumps(kinds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == expected


def test_what_a_config_holds(tmp_path):
    pre = mtl.text.Words(["so", "Zoë"], 4, lowercase=False, name="mine")
    again = mtl.text.load(mtl.text.save(pre, tmp_path / "words.json"))
    assert (again.vocabulary, again.length, again.lowercase, again.name) == (("so", "Zoë"), 4, False, "mine")
    assert again.get_config() == pre.get_config()
    made_otherwise = type(made.bert())(made.bert().get_vocabulary(), split_on_cjk=False)
    for tokenizer in (made_otherwise, made.roberta(add_prefix_space=True), made.albert()):
        pre = mtl.text.Subwords(tokenizer, 9)
        again = mtl.text.load(mtl.text.save(pre, str(tmp_path / "subwords.json")))
        assert type(again.tokenizer) is type(tokenizer)
        assert again.get_config() == pre.get_config()
        assert list(again.tokenizer.get_vocabulary()) == list(tokenizer.get_vocabulary())
        assert getattr(again.tokenizer, "split_on_cjk", False) is False


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "words.json"
    mtl.text.save(mtl.text.Words(["old"], 4), path)
    monkeypatch.setattr(json, "dumps", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        mtl.text.save(mtl.text.Words(["new"], 4), path)
    assert [found.name for found in tmp_path.iterdir()] == ["words.json"]
    assert mtl.text.load(path).vocabulary == ("old",)


def test_what_is_no_preprocessor(tmp_path):
    with pytest.raises(TypeError, match="`preprocessor` must be a tf_mtl.text.TextPreprocessor"):
        mtl.text.save(made.bert(), tmp_path / "bert.json")
    for text in ("[1]", json.dumps(keras.saving.serialize_keras_object(keras.layers.Dense(2)))):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(ValueError, match="other.json must be a file that tf_mtl.text.save wrote"):
            mtl.text.load(tmp_path / "other.json")


@pytest.mark.parametrize("kind", ["words", "bert", pytest.param("roberta", marks=pytest.mark.slow)])
def test_is_the_preprocessor_of_an_export(kind, tmp_path):
    pre = mtl.text.Words.learn(made.TEXTS, 8) if kind == "words" else mtl.text.Subwords(made.MADE[kind](), 12)
    inputs = pre.inputs()
    encoder = mtl.encoders.RecurrentEncoder(pre.vocabulary_size, dim=4, units=3)
    model = mtl.build_model(inputs, mtl.trunks.HardSharing(encoder), [mtl.tasks.Regression("stars")])
    expected = model.predict(pre(made.TEXTS), verbose=0)["stars"]
    path = mtl.export.saved_model(model, tmp_path / "export", preprocessor=pre, check=False)
    answer = tf.saved_model.load(str(path)).signatures["serving_default"](text=tf.constant(made.TEXTS))
    np.testing.assert_allclose(answer["stars_raw"], expected[:, 0], rtol=1e-5)
