"""The recipe `parse` through its command line, on a small made-up treebank."""

import gzip
import json
import random

import parse
import parse_data
import pytest
import tensorflow as tf

WORDS = {"DET": ["the", "a"], "NOUN": ["film", "phone", "bus"], "VERB": ["sees", "is"], "PUNCT": ["."]}
GENRES = {"reviews": "good", "email": "hello"}


def sentence(rng, genre):
    """The lines of a sentence: [the film] sees [the bus] ."""
    rows = []

    def noun(verb, relation):
        head = len(rows) + 2
        rows.append((rng.choice(WORDS["DET"]), "DET", "_", head, "det"))
        rows.append((rng.choice(WORDS["NOUN"]), "NOUN", "Number=Sing", verb, relation))

    opening = rng.randint(0, 1)
    verb = 3 + opening
    if opening:
        rows.append((GENRES.get(genre, "well"), "INTJ", "_", verb, "discourse"))
    noun(verb, "nsubj")
    rows.append((rng.choice(WORDS["VERB"]), "VERB", "Tense=Pres", 0, "root"))
    noun(verb, "obj")
    rows.append((".", "PUNCT", "_", verb, "punct"))
    lines = [
        f"{number}\t{word}\t{word}\t{pos}\t_\t{features}\t{head}\t{relation}\t_\t_"
        for number, (word, pos, features, head, relation) in enumerate(rows, 1)
    ]
    return [f"# sent_id = {genre}-{rng.random()}", "# text = Not read.", *lines, "8.1\tx\tx\tX\t_\t_\t_\t_\t_\t_", ""]


def write_treebank(folder, genres, rows):
    rng = random.Random(0)
    for part, extension in (("train", "rebuilt.conllu.gz"), ("dev", "conllu"), ("test", "conllu")):
        lines = [line for _ in range(rows[part]) for line in sentence(rng, rng.choice(genres))]
        data = ("\n".join(lines) + "\n").encode()
        (folder / f"xx_tiny-ud-{part}.{extension}").write_bytes(gzip.compress(data) if part == "train" else data)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_treebank(
        tmp_path_factory.mktemp("treebank"), ["reviews", "email", "unknown"], {"train": 120, "dev": 24, "test": 24}
    )


@pytest.fixture(scope="module")
def run(run_in_this_process, folder):
    """A function that runs the recipe and returns the printed text and metrics.json."""

    def run(workdir, *options):
        printed = run_in_this_process(
            *("parse", workdir, "--smoke", "--encoder", "bilstm", "--data", folder),
            *("--strategy", "one_device", "--epochs", 6, "--learning-rate", 0.01, *options),
        )
        return printed, json.loads((workdir / "runs" / "metrics.json").read_text())

    return run


@pytest.fixture(scope="module")
def joint_only(run, tmp_path_factory):
    """The folder, printed text and metrics.json of a run without single-task models."""
    workdir = tmp_path_factory.mktemp("parse")
    return workdir, *run(workdir, "--no-single-task")


def test_every_task_learns_in_the_joint_model(joint_only):
    _, printed, document = joint_only
    assert document["model"] == "joint, bilstm"
    metrics = document["test"]
    names = ["parse_uas", "parse_las", "pos_accuracy", "features_accuracy", "genre_accuracy", "genre_macro_f1"]
    assert set(metrics) == set(names)
    assert min(metrics[name] for name in names[:4]) > 0.9  # the order of the words determines them
    assert document["single_task"] == {}
    (row,) = [line for line in printed.splitlines() if line.startswith("| parse ") and "las" in line]
    assert [cell.strip() for cell in row.split("|")[3:-1]] == [f"{metrics['parse_las']:.4f}", ""]


def test_the_exported_model_parses(joint_only):
    workdir, *_ = joint_only
    signatures = tf.saved_model.load(str(workdir / "export" / "1")).signatures
    outputs = signatures["serving_default"](text=tf.constant(["the bus sees a phone."]))
    assert outputs["parse_heads"].numpy()[0, :7].tolist() == [2, 3, 0, 5, 3, 3, -1]
    assert outputs["parse_relations"].numpy()[0, 1] == b"nsubj"
    assert outputs["pos_tags"].numpy()[0, 2] == b"VERB"
    assert outputs["features_tags"].numpy()[0, 1] == b"Number=Sing"


@pytest.mark.slow
def test_single_task_models(run, joint_only):
    workdir, _, before = joint_only
    printed, after = run(workdir)
    assert "Exported to" not in printed
    assert after["test"] == before["test"]
    assert set(after["single_task"]) == set(after["test"])
    assert after["single_task"]["parse_las"] > 0.9
    assert "delta-m, mean over tasks" in printed
    runs = json.loads((workdir / "runs" / "results.json").read_text())
    assert [entry["model"] for entry in runs] == ["joint", "pos", "features", "parse", "genre"]


def test_records_and_tasks(folder):
    records = parse_data.load(folder)
    assert {part: len(rows) for part, rows in records.items()} == {"train": 120, "validation": 24, "test": 24}
    rows = list(records["train"].as_numpy_iterator())
    assert {row["genre"] for row in rows} == {b"reviews", b"email", b""}
    row = next(row for row in rows if len(row["words"]) == 6)
    assert row["parse"].tolist() == [b"2:det", b"3:nsubj", b"0:root", b"5:det", b"3:obj", b"3:punct"]
    assert row["features"].tolist()[:2] == [b"_", b"Number=Sing"]
    assert [task.name for task in parse_data.tasks(records)] == ["pos", "features", "parse", "genre"]


def test_a_treebank_without_genres(tmp_path):
    records = parse_data.load(write_treebank(tmp_path, ["news"], {"train": 9, "dev": 3, "test": 3}), smoke=True)
    assert [task.name for task in parse_data.tasks(records)] == ["pos", "features", "parse"]


def test_a_folder_without_its_parts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "en-ud-train.conllu").write_text("1\ta\ta\tDET\t_\t_\t0\troot\t_\t_\n")
    with pytest.raises(ValueError, match=r"must have one file \*-dev\*.conllu, which may be gzipped; received \[\]"):
        parse.main(["--data", str(tmp_path)])
    with pytest.raises(SystemExit):
        parse.main([])
    assert "--data is required" in capsys.readouterr().err
