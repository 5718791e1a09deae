"""The command line: python -m tf_mtl."""

import json
import subprocess
import sys

import keras
import pytest

import tf_mtl as mtl
from tf_mtl.__main__ import main


def model():
    tasks = [mtl.tasks.Classification("topic", ["news", "sport"]), mtl.tasks.Regression("stars")]
    return mtl.build_model(keras.Input((4,), name="x"), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([3])), tasks)


def test_describe(tmp_path, capsys):
    model().save(tmp_path / "model.keras")
    main(["describe", str(tmp_path / "model.keras")])
    printed = capsys.readouterr().out
    assert "| topic | (None, 2) | Classification | news, sport |" in printed
    assert "27 parameters, 15 of them shared." in printed
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    with pytest.raises(SystemExit, match="must hold a tf_mtl.MultiTaskModel, received a Sequential"):
        main(["describe", str(tmp_path / "other.keras")])


def test_check(tmp_path, capsys):
    path = mtl.export.saved_model(model(), tmp_path / "model", check=False)
    main(["check", str(path)])
    assert "| serving_default |" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="ValueError: .* has no model_card.json"):
        main(["check", str(tmp_path)])


def test_compare(tmp_path, capsys):
    results = {
        "one": {"a_auc": 0.9, "b_rmse": 1.0, "c_f1": 0.5},
        "two": {"a_auc": 0.6, "b_rmse": 2.0, "c_f1": 0.0, "d": 1.0},
    }
    for run, test in results.items():
        (tmp_path / run).mkdir()
        (tmp_path / run / "metrics.json").write_text(json.dumps({"test": test}))
    main(["compare", str(tmp_path / "one"), str(tmp_path / "two" / "metrics.json")])
    printed = capsys.readouterr().out
    assert "| 0.9000 |" in " ".join(printed.split())  # columns are as wide as the folders' names
    assert "+50.00% |" in printed
    assert "Mean gain (positive is better): +50.00%" in printed
    assert printed.endswith("does not have them or has 0: c_f1, d.\n")
    (tmp_path / "two" / "metrics.json").write_text(json.dumps({"test": {"d": 1.0}}))
    with pytest.raises(SystemExit, match="no result to compare"):
        main(["compare", str(tmp_path / "one"), str(tmp_path / "two")])


def test_it_is_a_command():
    printed = subprocess.run(
        [sys.executable, "-m", "tf_mtl", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert all(command in printed for command in ("check", "describe", "compare", "report"))
    failed = subprocess.run(
        [sys.executable, "-m", "tf_mtl", "compare", "nowhere", "here"], capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("FileNotFoundError: ")
