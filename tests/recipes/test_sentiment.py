"""The sentiment recipe through its command line, on a few hundred made-up rows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sentiment
import tensorflow as tf

ROOT = Path(__file__).parents[2]
TASKS = ("domain", "polarity", "intensity", "disagreement")


def run(sentiment_folder, workdir, *options):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(ROOT / "recipes" / "sentiment.py"), "--smoke", "--data", str(sentiment_folder)]
    command += ["--workdir", str(workdir / "runs"), "--export", str(workdir / "export"), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=workdir)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, json.loads((workdir / "runs" / "metrics.json").read_text())["test"]


@pytest.fixture(scope="module")
def ran(sentiment_folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("sentiment")
    return workdir, *run(sentiment_folder, workdir, "--epochs", "8", "--learning-rate", "0.003")


def test_metrics(ran):
    _, printed, metrics = ran
    assert metrics["intensity_pearson"] > 0.5  # one word tells it
    assert metrics["domain_accuracy"] > 0.5
    assert 0 < metrics["polarity_macro_f1"] <= 1
    assert all(np.isfinite(value) for value in metrics.values())
    for domain in ("tweets", "movies", "products", "editorials"):
        assert -1 <= metrics[f"intensity_pearson_{domain}"] <= 1
    assert f"| intensity_pearson            |      {metrics['intensity_pearson']:.3f} | 0.540 |  0.693 |" in printed


def test_files(ran):
    workdir, printed, _ = ran
    assert (workdir / "runs" / "curves.png").read_bytes().startswith(b"\x89PNG")
    events = list((workdir / "runs" / "tensorboard").rglob("events.out.tfevents.*"))
    tags = set()
    for file in events:
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            tags.update(value.tag for value in event.summary.value)
    assert {"epoch_loss", "epoch_intensity_pearson", "epoch_conflict"} <= tags
    assert "Training on one device" in printed
    assert "Epoch 8/8" in printed


def test_the_exported_model_answers(ran):
    workdir, printed, _ = ran
    loaded = tf.saved_model.load(str(workdir / "export" / "1"))
    assert set(loaded.signatures) > {"serving_default", *TASKS}
    outputs = loaded.signatures["serving_default"](text=tf.constant(["good good good", "bad! bad! bad!"]))
    assert float(outputs["intensity_value"][0]) > float(outputs["intensity_value"][1])
    assert np.abs(outputs["intensity_value"]).max() <= 4
    assert set(np.char.decode(outputs["polarity_label"].numpy().astype(bytes))) <= {"negative", "neutral", "positive"}
    answers = printed.split("from a new process:")[1]
    assert answers.count("intensity_value") == answers.count("domain_label") == 3


def test_the_same_seed_gives_the_same_numbers_and_two_devices_are_described(
    sentiment_folder, tmp_path, monkeypatch, capsys
):
    """Two runs of one configuration, in two processes, agree to the last digit; another seed gives others."""
    options = ["--virtual-devices", "2", "--batch-size", "32"]
    workdir = tmp_path / "process"
    workdir.mkdir()
    printed, expected = run(sentiment_folder, workdir, "--seed", "1", *options)
    assert "MirroredStrategy, 2 replicas" in printed

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sentiment.mtl.export, "saved_model", lambda *args, **kwargs: tmp_path)
    monkeypatch.setattr(sentiment.subprocess, "run", lambda *args, **kwargs: None)
    found = {}
    for seed in ("2", "1"):
        workdir = str(tmp_path / seed)
        sentiment.main(["--smoke", "--data", str(sentiment_folder), "--workdir", workdir, "--seed", seed, *options])
        assert "MirroredStrategy, 2 replicas" in capsys.readouterr().out
        found[seed] = json.loads((tmp_path / seed / "metrics.json").read_text())["test"]
    assert found["1"] == expected != found["2"]


def test_bad_options(capsys):
    with pytest.raises(SystemExit, match="2"):
        sentiment.main(["--frozen"])
    assert "--frozen goes with --encoder minilm" in capsys.readouterr().err
