"""The recipe of four tasks from three sources through its command line, on a few hundred made-up sentences."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import classify_and_tag
import numpy as np
import pytest
import tensorflow as tf

ROOT = Path(__file__).parents[2]
WORDS = {
    "DET": ["the", "a"],
    "NOUN": ["film", "phone", "bus"],
    "VERB": ["is", "sees"],
    "PROPN": ["Rome", "Oslo", "Lima"],
    "PUNCT": ["."],
}
PARTS = ("train", "dev", "test")


def sentence(rng):
    """Words and their parts of speech; names of places are of two words or of one."""
    kinds = ["DET", "NOUN", "VERB", *["PROPN"] * rng.randint(0, 2), "PUNCT"]
    return [(rng.choice(WORDS[kind]), kind) for kind in kinds]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("tagged"), random.Random(0)
    for kind, ending in (("entities", "conll"), ("pos", "conllu")):
        (folder / kind).mkdir()
        for part in PARTS:
            lines = []
            for _ in range(150):
                before = ""
                for place, (word, tag) in enumerate(sentence(rng), 1):
                    entity = "O" if tag != "PROPN" else f"{'I' if before == 'PROPN' else 'B'}-place"
                    before = tag
                    lines.append(f"{word}\t{entity}" if kind == "entities" else f"{place}\t{word}\t{word}\t{tag}")
                lines.append("")
            (folder / kind / f"{part}.{ending}").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def ran(folders, sentiment_folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("classify_and_tag")
    command = [sys.executable, str(ROOT / "recipes" / "classify_and_tag.py"), "--smoke", "--encoder", "bilstm"]
    command += ["--entities", str(folders / "entities"), "--pos", str(folders / "pos")]
    command += ["--sentiment", str(sentiment_folder), "--epochs", "5", "--learning-rate", "0.01"]
    command += ["--workdir", str(workdir / "runs"), "--export", str(workdir / "export")]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=workdir)
    assert done.returncode == 0, done.stderr[-3000:]
    return workdir, done.stdout, json.loads((workdir / "runs" / "metrics.json").read_text())


def test_every_task_learns_jointly_and_alone(ran):
    *_, found = ran
    for results in (found["test"], found["single_task"]):
        assert results["pos"]["accuracy"] > 0.9  # a word tells its tag
        assert results["entities"]["span_f1"] > 0.8
        assert results["domain"]["accuracy"] > 0.5
        assert 0 < results["polarity"]["macro_f1"] <= 1
    assert found["test"] != found["single_task"]


def test_the_table(ran):
    _, printed, found = ran
    joint, single = (found[key]["pos"]["accuracy"] for key in ("test", "single_task"))
    (row,) = [line for line in printed.splitlines() if line.startswith("| pos ") and "accuracy" in line]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[2:] == [f"{joint:.4f}", f"{single:.4f}", f"{joint / single - 1:+.2%}"]
    assert "delta-m, mean over tasks" in printed
    assert sum(found["shares"].values()) == pytest.approx(1)
    assert f"rows drawn (sqrt): sentiment {found['shares']['sentiment']:.1%}" in printed


def test_the_exported_model_finds_entities(ran):
    workdir, printed, _ = ran
    signatures = tf.saved_model.load(str(workdir / "export" / "1")).signatures
    assert set(signatures) > {"serving_default", "domain", "polarity", "entities", "pos"}
    text = "the bus sees Rome Oslo."
    found = {k: v.numpy() for k, v in signatures["serving_default"](text=tf.constant([text])).items()}
    assert found["entities_span_texts"][0, 0] == b"Rome Oslo"
    assert text[found["entities_span_byte_begins"][0, 0] : found["entities_span_byte_ends"][0, 0]] == "Rome Oslo"
    assert (found["entities_span_types"][0, 0], found["pos_tags"][0, 5]) == (b"place", b"PUNCT")
    assert np.isfinite(found["entities_span_scores"]).all()
    assert printed.split("from a new process:")[1].count("entities_span_texts") == 3


def test_a_folder_without_its_parts(tmp_path, sentiment_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.conll").write_text("a O\n")
    folders = ["--entities", str(tmp_path), "--pos", str(tmp_path), "--sentiment", str(sentiment_folder)]
    with pytest.raises(ValueError, match="must hold one file whose name has dev or valid in it"):
        classify_and_tag.main(folders)
