"""The recipe `entities_relations` through its command line, on made-up sentences."""

import json
import random

import entities_relations
import entities_relations_data
import keras
import numpy as np
import own_layers
import pytest
import tensorflow as tf

import tf_mtl as mtl

PEOPLE, PLACES = [["Ann"], ["Bo", "Li"], ["Carl"]], [["Rome"], ["New", "York"], ["Lima"]]
VERBS = {"inhabits": "Live_In", "left": None, "sees": None}


def sentence(rng):
    """The lines of a sentence in which a person does or does not live in a place."""
    person, place, (verb, relation) = rng.choice(PEOPLE), rng.choice(PLACES), rng.choice(list(VERBS.items()))
    words = ["now"] * rng.randint(0, 1)
    tags = ["O"] * len(words)
    head = len(words) + len(person) - 1
    for entity, kind in ((person, "Peop"), ([verb], None), (place, "Loc")):
        words += entity
        tags += ["O" if kind is None else f"{'I' if i else 'B'}-{kind}" for i in range(len(entity))]
    rows = [[["N"], [number]] for number in range(len(words))]
    if relation:
        rows[head] = [[relation], [len(words) - 1]]
    return [f"{i}\t{words[i]}\t{tags[i]}\t{names}\t{tails}" for i, (names, tails) in enumerate(rows)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("conll04"), random.Random(0)
    for part, rows in (("train", 160), ("dev", 32), ("test", 32)):
        lines = [line for number in range(rows) for line in (f"#doc {number}", *sentence(rng))]
        (folder / f"{part}.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def run(run_in_this_process, folder):
    """A function that runs the recipe and returns the printed text and metrics.json."""

    def run(workdir, *options):
        printed = run_in_this_process(
            *("entities_relations", workdir, "--smoke", "--encoder", "bilstm", "--data", folder),
            *("--strategy", "one_device", "--epochs", 8, "--learning-rate", 0.01, *options),
        )
        return printed, json.loads((workdir / "runs" / "metrics.json").read_text())

    return run


@pytest.fixture(scope="module")
def joint_only(run, tmp_path_factory):
    """The folder, printed text and metrics.json of a run without the pipeline."""
    workdir = tmp_path_factory.mktemp("entities_relations")
    return workdir, *run(workdir, "--no-single-task")


@pytest.mark.slow
def test_entities_and_relations_are_learnt(joint_only):
    _, printed, document = joint_only
    assert document["model"] == "joint, bilstm, 0 own layers"
    names = {f"{task}_{metric}" for task in ("entities", "relations") for metric in ("micro_f1", "macro_f1")}
    assert set(document["test"]) == names
    assert min(document["test"].values()) > 0.9  # words determine entities, and the verb the relation
    assert document["own_layers"] == {"0": document["test"]}
    assert document["single_task"] == {}
    assert "delta-m" not in printed
    (row,) = [line for line in printed.splitlines() if line.startswith("|          0")]
    assert float(row.split("|")[2]) == pytest.approx(document["test"]["entities_micro_f1"], abs=6e-5)


@pytest.mark.slow
def test_own_layers_and_the_pipeline(run, joint_only):
    workdir, _, before = joint_only
    printed, after = run(workdir, "--own-layers", 0, 1)
    assert "Exported to" not in printed
    assert after["own_layers"]["0"] == before["test"] == after["test"]
    for metrics in (after["own_layers"]["1"], after["single_task"]):
        assert set(metrics) == set(after["test"])
        assert metrics["entities_micro_f1"] > 0.9
    assert "delta-m, mean over tasks" in printed
    runs = json.loads((workdir / "runs" / "results.json").read_text())
    assert [entry["model"] for entry in runs] == [0, 1, "pipeline"]


def test_the_exported_model_finds_relations(joint_only):
    workdir, *_ = joint_only
    signatures = tf.saved_model.load(str(workdir / "export" / "1")).signatures
    outputs = signatures["serving_default"](text=tf.constant(["Bo Li inhabits New York", "Ann left Rome"]))
    assert outputs["relations_labels"].numpy()[:, 0].tolist() == [b"Live_In", b""]
    assert outputs["relations_head_texts"].numpy()[0, 0] == b"Bo Li"
    assert outputs["relations_tail_texts"].numpy()[0, 0] == b"New York"
    assert outputs["entities_span_types"].numpy()[1, :2].tolist() == [b"Peop", b"Loc"]


def test_records(tmp_path):
    first = "0\tAnn\tB-Peop\t['Live_In', 'Kill']\t[2, 0]\n1\tin\tO\t['N']\t[1]\n2\tOslo\tB-Loc\t['N']\t[2]\n"
    text = f"#doc 1\n{first}#doc 2\n0\t#\tO\t['N']\t[0]\n"
    for name in entities_relations_data.PARTS.values():
        (tmp_path / name).write_text(text)
    first, second = entities_relations_data.load(tmp_path)["validation"].as_numpy_iterator()
    assert {name: values.tolist() for name, values in first.items()} == {
        "words": [b"Ann", b"in", b"Oslo"],
        "entities": [b"B-Peop", b"O", b"B-Loc"],
        "relations": [b"0:Live_In:2", b"0:Kill:0"],
    }
    assert second["words"].tolist() == [b"#"]
    assert second["relations"].tolist() == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1\tAnn\tO\t['N']\t[0]", "test.txt, line 2 must have five columns.* the first of them 0"),
        ("0 Ann O ['N'] [0]", "must have five columns, separated by tabs"),
        ("0\tAnn\tO\t['N']\t[0, 1]", "must end with two lists of the same length"),
        ("0\tAnn\tO\tN\t0", "must end with two lists"),
    ],
)
def test_wrong_lines(tmp_path, line, message):
    for name in ("train.txt", "dev.txt"):
        (tmp_path / name).write_text("0\tAnn\tO\t['N']\t[0]\n")
    (tmp_path / "test.txt").write_text(f"#doc 1\n{line}\n")
    with pytest.raises(ValueError, match=message):
        entities_relations_data.load(tmp_path)


def test_a_folder_without_its_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="has no train.txt"):
        entities_relations.main(["--data", str(tmp_path)])
    with pytest.raises(SystemExit):
        entities_relations.main([])
    assert "--data is required" in capsys.readouterr().err


@pytest.mark.parametrize("own", [0, 1, 3])
def test_own_last_layers(own):
    encoder = mtl.encoders.RecurrentEncoder(vocabulary_size=9, dim=4, units=3, layers=2)
    encoder.build((None, None))
    inputs = {"token_ids": keras.Input((None,), dtype="int32", name="token_ids")}
    tasks = [mtl.tasks.Tagging(name, 2, scheme="none") for name in ("a", "b")]
    model = mtl.build_model(inputs, own_layers.OwnLastLayers(encoder, own), tasks)
    shared = {layer.layer for layer in model.describe_sharing().layers if len(layer.tasks) == 2}
    assert len(shared) == 3 - own
    ids = {"token_ids": np.array([[3, 4, 5]])}
    first, second = (model.get_layer(f"{task}_scores").input for task in ("a", "b"))
    outputs = keras.Model(model.input, [first, second])(ids)
    np.testing.assert_allclose(*outputs)  # copies begin with the weights of the encoder


def test_own_last_layers_out_of_range():
    encoder = mtl.encoders.RecurrentEncoder(vocabulary_size=9)
    with pytest.raises(ValueError, match="`own` must be an integer from 0 to 2, received 3"):
        own_layers.OwnLastLayers(encoder, 3)
