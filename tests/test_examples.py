"""The scripts under examples/ run, print what they show, and give the results that they claim."""

import re
import runpy
from pathlib import Path

import keras
import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """A function that runs an example and returns its variables."""
    monkeypatch.chdir(tmp_path)
    keras.utils.clear_session()  # names of layers are printed

    def run_script(name):
        path = EXAMPLES / f"{name}.py"
        variables = runpy.run_path(str(path), run_name="__main__")
        assert_similar(capsys.readouterr().out, shown_output(path.read_text()))
        return variables

    return run_script


def shown_output(script):
    """The output shown in a script's last comment."""
    shown = script.rpartition("# It prints:\n#\n")[2]
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in shown.splitlines())


def assert_similar(printed, expected):
    """Check that words agree exactly and numbers roughly, as trained models differ slightly between machines."""
    words = [" ".join(NUMBER.sub("#", re.sub("-{2,}:?", "--", text)).split()) for text in (printed, expected)]
    assert words[0] == words[1]
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in (printed, expected)]
    np.testing.assert_allclose(*numbers, rtol=0.2, atol=0.1)


def test_every_example_has_a_test():
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in EXAMPLES.glob("*.py")} <= tests


def test_your_own_model(run):
    variables = run("your_own_model")
    for name, value in variables["ours"].items():
        np.testing.assert_allclose(value, variables["theirs"][name], rtol=1e-5)
    assert variables["ours"]["district_accuracy"] > 0.9
    assert variables["ours"]["price_mae"] < 0.3


def test_missing_labels(run):
    variables = run("missing_labels")
    losses, results = variables["losses"], variables["results"]
    np.testing.assert_allclose(losses["MultiTaskModel"], losses["mean over labelled rows"], rtol=1e-5)
    np.testing.assert_allclose(losses["keras.Model"], losses["sum divided by all rows"], rtol=1e-5)
    assert results["MultiTaskModel"]["blood_mae"] < 0.95 * results["keras.Model"]["blood_mae"]
    assert variables["changed"] == {"MultiTaskModel": False, "keras.Model": True}


@pytest.mark.slow
def test_balancing_compared(run):
    gains = {row[0]: row[4] for row in run("balancing_compared")["rows"]}
    assert gains["equal"] < -10
    assert all(gains[name] > gains["equal"] + 10 for name in ("scale invariant", "IMTL-G", "Nash-MTL"))
    assert min(gains["IMTL-G"], gains["Nash-MTL"]) > -2


def test_experts(run):
    variables = run("experts")
    assert all(variables["results"][f"{task}_auc"] > 0.9 for task in ("click", "buy", "returned"))
    own = {task: weight for task, _, weight, _ in variables["rows"]}
    assert max(own["click"], own["buy"]) < 0.5 < own["returned"]


def test_tags_and_classes(run):
    variables = run("tags_and_classes")
    assert variables["results"]["frame_accuracy"] > 0.95
    tested_words = {word for row in variables["testing"] for word in row["words"].numpy().tolist()}
    vocabulary = {word.encode() for word in variables["words"].vocabulary}
    assert len(tested_words - vocabulary) > 50  # names outside the vocabulary


def test_export_and_ask(run):
    variables = run("export_and_ask")
    assert variables["results"]["returned_auc"] > 0.85
    assert variables["results"]["days_pearson"] > 0.9
    assert {path.name for path in variables["path"].iterdir()} >= {"README.md", "model_card.json", "saved_model.pb"}
