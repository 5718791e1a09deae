"""The sentiment recipe through its command line, on a few hundred made-up rows."""

import json

import numpy as np
import pytest
import sentiment
import tensorflow as tf

TASKS = ("domain", "polarity", "intensity", "disagreement")


@pytest.fixture(scope="session")
def run(run_recipe, sentiment_folder):
    """A function that runs the recipe and returns the printed text and metrics.json."""

    def run(folder, *options):
        process = run_recipe("sentiment", folder, "--smoke", "--data", sentiment_folder, *options)
        assert process.returncode == 0, process.stderr[-3000:]
        assert "absl::InitializeLog" not in process.stderr
        return process.stdout, json.loads((folder / "runs" / "metrics.json").read_text())

    return run


@pytest.fixture(scope="module")
def results(run, tmp_path_factory):
    """The folder, printed text and metrics.json of a run."""
    folder = tmp_path_factory.mktemp("sentiment")
    options = ["--epochs", "8", "--learning-rate", "0.003", "--virtual-devices", "2", "--batch-size", "32"]
    return folder, *run(folder, *options)


def test_metrics(results):
    _, printed, document = results
    assert document["model"] == "transformer"
    assert document["options"]["epochs"] == 8
    metrics = document["test"]
    assert metrics["intensity_pearson"] > 0.5  # single words determine it
    assert metrics["domain_accuracy"] > 0.5
    assert 0 < metrics["polarity_macro_f1"] <= 1
    assert all(np.isfinite(value) for value in metrics.values())
    for domain in ("tweets", "movies", "products", "editorials"):
        assert -1 <= metrics[f"intensity_pearson_{domain}"] <= 1
    assert f"| intensity_pearson            |      {metrics['intensity_pearson']:.3f} | 0.540 |  0.693 |" in printed


def test_files(results):
    folder, printed, _ = results
    report = (folder / "runs" / "report.html").read_text()
    sections = ("Results", "Training", "Weights and gradients", "Further numbers", "Options", "Model card")
    assert [title for title in sections if f">{title}</h2>" in report] == list(sections)
    assert "conflict by epoch: " in report
    assert len(json.loads((folder / "runs" / "history.json").read_text())["intensity_pearson"]) == 8
    events = list((folder / "runs" / "tensorboard").rglob("events.out.tfevents.*"))
    tags = set()
    for file in events:
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            tags.update(value.tag for value in event.summary.value)
    assert {"epoch_loss", "epoch_intensity_pearson", "epoch_conflict"} <= tags
    assert "MirroredStrategy, 2 replicas" in printed
    assert "Epoch 8/8" in printed


def test_the_exported_model_answers(results):
    folder, printed, _ = results
    loaded = tf.saved_model.load(str(folder / "export" / "1"))
    assert set(loaded.signatures) > {"serving_default", *TASKS}
    outputs = loaded.signatures["serving_default"](text=tf.constant(["good good good", "bad! bad! bad!"]))
    assert float(outputs["intensity_value"][0]) > float(outputs["intensity_value"][1])
    assert np.abs(outputs["intensity_value"]).max() <= 4
    assert set(np.char.decode(outputs["polarity_label"].numpy().astype(bytes))) <= {"negative", "neutral", "positive"}
    printed_answers = printed.split("from a new process:")[1]
    assert printed_answers.count("intensity_value") == printed_answers.count("domain_label") == 3


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers(run, sentiment_folder, tmp_path, monkeypatch, capsys):
    """Two runs of one configuration, in two processes, agree to the last digit; another seed gives other numbers."""
    one_device = ["--strategy", "one_device"]  # tests have two, which draw dropout of their own
    _, document = run(tmp_path, "--seed", "1", *one_device)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sentiment, "export", lambda *args: None)
    metrics = {}
    for seed in ("2", "1"):
        workdir = str(tmp_path / seed)
        options = ["--smoke", "--data", str(sentiment_folder), "--workdir", workdir, "--seed", seed, *one_device]
        sentiment.main(options)
        assert "Training on" in capsys.readouterr().out
        metrics[seed] = json.loads((tmp_path / seed / "metrics.json").read_text())["test"]
    assert metrics["1"] == document["test"] != metrics["2"]


def test_bad_options(capsys):
    with pytest.raises(SystemExit, match="2"):
        sentiment.main(["--frozen"])
    assert "--frozen goes with --encoder minilm" in capsys.readouterr().err
