"""The recipe of intents and slots through its command line, on a few hundred made-up requests."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import intent_slots
import pytest
import tensorflow as tf

ROOT = Path(__file__).parents[2]
CITIES = ["boston", "denver", "new york", "san jose"]


def request(rng):
    """Words, slots and intent of a request to fly, or for the weather."""
    city, day = rng.choice(CITIES).split(), rng.choice(["monday", "friday"])
    kind = rng.choice(["fly", "weather"])
    first = ["fly", "to"] if kind == "fly" else ["weather", "in"]
    place = "to_city" if kind == "fly" else "city"
    slots = ["O", "O", *(f"{'I' if i else 'B'}-{place}" for i in range(len(city))), "O", "B-day"]
    return " ".join([*first, *city, "on", day]), " ".join(slots), kind


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
def ran(folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("intent_slots")
    command = [sys.executable, str(ROOT / "recipes" / "intent_slots.py"), "--smoke", "--data", str(folder)]
    command += ["--epochs", "6", "--learning-rate", "0.01"]
    command += ["--workdir", str(workdir / "runs"), "--export", str(workdir / "export")]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=workdir)
    assert done.returncode == 0, done.stderr[-3000:]
    return workdir, done.stdout, json.loads((workdir / "runs" / "metrics.json").read_text())["test"]


def test_all_of_a_request_is_learnt(ran):
    _, printed, found = ran
    assert set(found) == {"intent_accuracy", "slots_span_f1", "frame_accuracy"}
    assert min(found.values()) > 0.9  # first word and slots tell each other
    assert "200 train, 40 validation, 40 test sentences" in printed
    (row,) = [line for line in printed.splitlines() if line.startswith("| frame accuracy")]
    assert float(row.split("|")[2]) == pytest.approx(found["frame_accuracy"], abs=6e-4)


def test_the_exported_model_answers(ran):
    workdir, *_ = ran
    signatures = tf.saved_model.load(str(workdir / "export" / "1")).signatures
    found = signatures["serving_default"](text=tf.constant(["fly to new york on friday"]))
    assert found["intent_label"].numpy()[0] == b"fly"
    assert found["slots_span_texts"].numpy()[0, :3].tolist() == [b"new york", b"friday", b""]
    assert found["slots_span_types"].numpy()[0, :2].tolist() == [b"to_city", b"day"]


def test_a_folder_without_its_parts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="must have a folder train."):
        intent_slots.main(["--data", str(tmp_path)])
