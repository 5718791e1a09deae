"""The recipe `classify_and_tag` through its command line, on a few hundred made-up sentences."""

import json
import random

import ask_export
import classify_and_tag
import numpy as np
import pytest
import tensorflow as tf

WORDS = {
    "DET": ["the", "a"],
    "NOUN": ["film", "phone", "bus"],
    "VERB": ["is", "sees"],
    "PROPN": ["Rome", "Oslo", "Lima"],
    "PUNCT": ["."],
}
PARTS = ("train", "dev", "test")


def sentence(rng):
    """Words and their parts of speech; names of places have up to two words."""
    kinds = ["DET", "NOUN", "VERB", *["PROPN"] * rng.randint(0, 2), "PUNCT"]
    return [(rng.choice(WORDS[kind]), kind) for kind in kinds]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("tagged"), random.Random(0)
    for kind, extension in (("entities", "conll"), ("pos", "conllu")):
        (folder / kind).mkdir()
        for part in PARTS:
            lines = []
            for _ in range(150):
                previous = ""
                for position, (word, tag) in enumerate(sentence(rng), 1):
                    entity = "O" if tag != "PROPN" else f"{'I' if previous == 'PROPN' else 'B'}-place"
                    previous = tag
                    lines.append(f"{word}\t{entity}" if kind == "entities" else f"{position}\t{word}\t{word}\t{tag}")
                lines.append("")
            (folder / kind / f"{part}.{extension}").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def run(run_in_this_process, folders, sentiment_folder):
    """A function that runs the recipe and returns the printed text and metrics.json."""

    def run(workdir, *options):
        printed = run_in_this_process(
            *("classify_and_tag", workdir, "--smoke", "--encoder", "bilstm"),
            *("--entities", folders / "entities", "--pos", folders / "pos", "--data", sentiment_folder),
            *("--strategy", "one_device", "--epochs", 5, "--learning-rate", 0.01, *options),
        )
        return printed, json.loads((workdir / "runs" / "metrics.json").read_text())

    return run


@pytest.fixture(scope="module")
def joint_only(run, tmp_path_factory):
    """The folder, printed text and metrics.json of a run without single-task models."""
    workdir = tmp_path_factory.mktemp("classify_and_tag")
    return workdir, *run(workdir, "--no-single-task")


@pytest.fixture(scope="module")
def results(run, joint_only):
    """The folder, printed text and metrics.json of a run that continues the one without single-task models."""
    workdir, *_ = joint_only
    return workdir, *run(workdir)


@pytest.mark.slow
def test_every_task_learns_in_the_joint_model_and_in_its_single_task_model(results):
    *_, document = results
    assert document["model"] == "joint, bilstm"
    for metrics in (document["test"], document["single_task"]):
        assert metrics["pos_accuracy"] > 0.9  # a word determines its tag
        assert metrics["entities_span_f1"] > 0.8
        assert metrics["domain_accuracy"] > 0.5
        assert 0 < metrics["polarity_macro_f1"] <= 1
    assert document["test"] != document["single_task"]


@pytest.mark.slow
def test_finished_models_are_not_trained_again(run, joint_only, results):
    workdir, printed, before = joint_only
    assert before["single_task"] == {}
    assert "Exported to" in printed
    _, printed, after = results
    assert "Exported to" not in printed
    assert after["test"] == before["test"]
    assert after["train_seconds"] == before["train_seconds"]
    runs = json.loads((workdir / "runs" / "results.json").read_text())
    assert [entry["model"] for entry in runs] == ["joint", "domain", "polarity", "entities", "pos"]


@pytest.mark.slow
def test_the_table(results):
    _, printed, document = results
    joint, single = (document[key]["pos_accuracy"] for key in ("test", "single_task"))
    (row,) = [line for line in printed.splitlines() if line.startswith("| pos ") and "accuracy" in line]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[2:] == [f"{joint:.4f}", f"{single:.4f}", f"{joint / single - 1:+.2%}"]
    assert "delta-m, mean over tasks" in printed
    assert sum(document["fractions"].values()) == pytest.approx(1)
    assert f"rows drawn (sqrt): sentiment {document['fractions']['sentiment']:.1%}" in printed


@pytest.mark.slow
def test_the_table_without_single_task_models(joint_only):
    _, printed, document = joint_only
    (row,) = [line for line in printed.splitlines() if line.startswith("| pos ") and "accuracy" in line]
    assert [cell.strip() for cell in row.split("|")[3:-1]] == [f"{document['test']['pos_accuracy']:.4f}", ""]


def test_the_exported_model_finds_entities(joint_only, capsys):
    workdir, *_ = joint_only
    signatures = tf.saved_model.load(str(workdir / "export" / "1")).signatures
    assert set(signatures) > {"serving_default", "domain", "polarity", "entities", "pos"}
    text = "the bus sees Rome Oslo."
    outputs = {k: v.numpy() for k, v in signatures["serving_default"](text=tf.constant([text])).items()}
    assert outputs["entities_span_texts"][0, 0] == b"Rome Oslo"
    assert text[outputs["entities_span_byte_begins"][0, 0] : outputs["entities_span_byte_ends"][0, 0]] == "Rome Oslo"
    assert (outputs["entities_span_types"][0, 0], outputs["pos_tags"][0, 5]) == (b"place", b"PUNCT")
    assert np.isfinite(outputs["entities_span_scores"]).all()
    ask_export.main(str(workdir / "export" / "1"), text)
    assert f"{'entities_span_texts':<22} Rome Oslo" in capsys.readouterr().out


def test_a_folder_without_its_parts(tmp_path, sentiment_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.conll").write_text("a O\n")
    folders = ["--entities", str(tmp_path), "--pos", str(tmp_path), "--data", str(sentiment_folder)]
    with pytest.raises(ValueError, match="must have one file with dev or valid in its name"):
        classify_and_tag.main(folders)
