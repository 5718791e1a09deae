"""The recipe `intent_slots` through its command line, on a few hundred made-up requests."""

import json
import random

import intent_slots
import pytest
import tensorflow as tf

CITIES = ["boston", "denver", "new york", "san jose"]


def request(rng):
    """Words, slots and intent of a request for a flight or for the weather."""
    city, day = rng.choice(CITIES).split(), rng.choice(["monday", "friday"])
    kind = rng.choice(["fly", "weather"])
    start = ["fly", "to"] if kind == "fly" else ["weather", "in"]
    slot = "to_city" if kind == "fly" else "city"
    slots = ["O", "O", *(f"{'I' if i else 'B'}-{slot}" for i in range(len(city))), "O", "B-day"]
    return " ".join([*start, *city, "on", day]), " ".join(slots), kind


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("requests"), random.Random(0)
    for part, rows in (("train", 200), ("valid", 40), ("test", 40)):
        (folder / part).mkdir()
        columns = zip(*(request(rng) for _ in range(rows)), strict=True)
        for name, column in zip(("seq.in", "seq.out", "label"), columns, strict=True):
            (folder / part / name).write_text("\n".join(column) + "\n")
    return folder


@pytest.fixture(scope="module")
def results(run_in_this_process, folder, tmp_path_factory):
    """The folder, printed text and metrics.json of a run."""
    workdir = tmp_path_factory.mktemp("intent_slots")
    options = "--strategy", "one_device", "--epochs", 6, "--learning-rate", 0.01
    printed = run_in_this_process("intent_slots", workdir, "--smoke", "--data", folder, *options)
    return workdir, printed, json.loads((workdir / "runs" / "metrics.json").read_text())


def test_intents_and_slots_are_learnt(results):
    _, printed, document = results
    assert document["model"] == "bilstm"
    metrics = document["test"]
    assert set(metrics) == {"intent_accuracy", "slots_span_f1", "frame_accuracy"}
    assert min(metrics.values()) > 0.9  # the first word determines intent and slots
    assert "200 train, 40 validation, 40 test sentences" in printed
    (row,) = [line for line in printed.splitlines() if line.startswith("| frame accuracy")]
    assert float(row.split("|")[2]) == pytest.approx(metrics["frame_accuracy"], abs=6e-4)


def test_the_exported_model_answers(results):
    workdir, *_ = results
    signatures = tf.saved_model.load(str(workdir / "export" / "1")).signatures
    outputs = signatures["serving_default"](text=tf.constant(["fly to new york on friday"]))
    assert outputs["intent_label"].numpy()[0] == b"fly"
    assert outputs["slots_span_texts"].numpy()[0, :3].tolist() == [b"new york", b"friday", b""]
    assert outputs["slots_span_types"].numpy()[0, :2].tolist() == [b"to_city", b"day"]


def test_a_folder_without_its_parts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="must have a folder train."):
        intent_slots.main(["--data", str(tmp_path)])
