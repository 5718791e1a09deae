"""Preprocessors in files, in SavedModels and in exports of models."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_tokenizers import TEXTS, TOKENIZERS, albert, bert, roberta

import tf_mtl as mtl


def save_model(pre, path):
    module = tf.Module()
    module.pre = pre
    module.preprocess = tf.function(pre.__call__, input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, str(path))


@pytest.mark.parametrize(
    "kinds", [["bert", "albert"], pytest.param(["roberta", "xlm_roberta"], marks=pytest.mark.slow)]
)
def test_a_new_process_encodes_the_same(kinds, tmp_path):
    texts = [*TEXTS, "", "…日本 so\u3000it", "Unknown !!"]
    preprocessors = {"words": mtl.text.Words.learn(TEXTS, 8)}
    preprocessors |= {kind: mtl.text.Subwords(TOKENIZERS[kind](), 12) for kind in kinds}
    expected = {}
    for kind, pre in preprocessors.items():
        assert mtl.text.save(pre, tmp_path / f"{kind}.json") == tmp_path / f"{kind}.json"
        save_model(pre, tmp_path / kind)
        expected[kind] = {name: value.numpy().tolist() for name, value in pre(texts).items()}
        expected[f"exported {kind}"] = expected[kind]
    script = Path(__file__).with_name("encode_in_new_process.py")
    command = [sys.executable, script, tmp_path, json.dumps(texts), json.dumps(kinds)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    assert json.loads(process.stdout) == expected


def test_files_hold_the_whole_config(tmp_path):
    pre = mtl.text.Words(["so", "Zoë"], 4, lowercase=False, name="mine")
    loaded = mtl.text.load(mtl.text.save(pre, tmp_path / "words.json"))
    assert (loaded.vocabulary, loaded.length, loaded.lowercase, loaded.name) == (("so", "Zoë"), 4, False, "mine")
    assert loaded.get_config() == pre.get_config()
    unsplit_cjk = type(bert())(bert().get_vocabulary(), split_on_cjk=False)
    for tokenizer in (unsplit_cjk, roberta(add_prefix_space=True), albert()):
        pre = mtl.text.Subwords(tokenizer, 9)
        loaded = mtl.text.load(mtl.text.save(pre, str(tmp_path / "subwords.json")))
        assert type(loaded.tokenizer) is type(tokenizer)
        assert loaded.get_config() == pre.get_config()
        assert list(loaded.tokenizer.get_vocabulary()) == list(tokenizer.get_vocabulary())
        assert getattr(loaded.tokenizer, "split_on_cjk", False) is False


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "words.json"
    mtl.text.save(mtl.text.Words(["old"], 4), path)
    monkeypatch.setattr(json, "dumps", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        mtl.text.save(mtl.text.Words(["new"], 4), path)
    assert [file.name for file in tmp_path.iterdir()] == ["words.json"]
    assert mtl.text.load(path).vocabulary == ("old",)


def test_errors(tmp_path):
    with pytest.raises(TypeError, match="`preprocessor` must be a tf_mtl.text.TextPreprocessor"):
        mtl.text.save(bert(), tmp_path / "bert.json")
    for text in ("[1]", json.dumps(keras.saving.serialize_keras_object(keras.layers.Dense(2)))):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(ValueError, match="`path` must be a file that tf_mtl.text.save wrote, but .*other.json"):
            mtl.text.load(tmp_path / "other.json")


@pytest.mark.parametrize("kind", ["words", "bert", pytest.param("roberta", marks=pytest.mark.slow)])
def test_exports_with_a_preprocessor(kind, tmp_path):
    pre = mtl.text.Words.learn(TEXTS, 8) if kind == "words" else mtl.text.Subwords(TOKENIZERS[kind](), 12)
    inputs = pre.inputs()
    encoder = mtl.encoders.RecurrentEncoder(pre.vocabulary_size, dim=4, units=3)
    model = mtl.build_model(inputs, mtl.trunks.HardSharing(encoder), [mtl.tasks.Regression("stars")])
    expected = model.predict(pre(TEXTS), verbose=0)["stars"]
    path = mtl.export.saved_model(model, tmp_path / "export", preprocessor=pre, check=False)
    answer = tf.saved_model.load(str(path)).signatures["serving_default"](text=tf.constant(TEXTS))
    np.testing.assert_allclose(answer["stars_raw"], expected[:, 0], rtol=1e-5)
