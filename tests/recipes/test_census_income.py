"""The Census-Income recipe through its command line, on a few made-up people."""

import json

import census_data
import census_income
import census_trunks
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

SETTINGS = ["--epochs", "6", "--batch-size", "64", "--width", "12", "--seeds", "1"]


def run(folder, workdir, *options):
    """Run the recipe, and return metrics.json and results.json."""
    census_income.main(
        ["--data", str(folder), "--workdir", str(workdir), "--export", str(workdir / "export"), *options]
    )
    return json.loads((workdir / "metrics.json").read_text()), json.loads((workdir / "results.json").read_text())


def test_columns_and_labels(census_folder):
    rows = [line.split(",") for line in (census_folder / "census_income_1994_1995_test.csv").read_text().splitlines()]
    _, (columns, labels) = census_data.load(census_folder, ["income", "never_married", "college"])
    assert len(columns) == 38
    assert not {"income", "marital_stat", "education", "instance_weight"} & columns.keys()
    for i, row in enumerate(rows):
        assert columns["age"][i] == float(row[0])
        assert columns["weeks_worked_in_year"][i] == float(row[39])
        assert columns["class_of_worker"][i] == row[1].strip()
        assert labels["income"][i] == ("50000+." in row[41])
        assert labels["never_married"][i] == ("Never" in row[7])
        assert labels["college"][i] == ("degree" in row[4])
    assert "education" in census_data.load(census_folder)[0][0]


def test_more_labels(census_folder):
    lines = (census_folder / "census_income_1994_1995_test.csv").read_text().splitlines()
    rows = [[value.strip() for value in line.split(",")] for line in lines]
    _, (columns, labels) = census_data.load(census_folder, census_data.MORE_TASKS, leave_out=["tax_filer_stat"])
    assert len(columns) == 42 - 3 - 1 - 1 - 7 - 1
    assert not {"dividends_from_stocks", "class_of_worker", "region_of_previous_residence", "tax_filer_stat"} & {
        *columns
    }
    moved = [{"Yes": 0.0, "No": 1.0}.get(row[28], np.nan) for row in rows]
    assert {str(label) for label in moved} == {"0.0", "1.0", "nan"}
    np.testing.assert_array_equal(labels["moved"], moved)
    np.testing.assert_array_equal(labels["dividends"], [float(row[18]) > 0 for row in rows])
    np.testing.assert_array_equal(labels["self_employed"], [row[1].startswith("Self-employed") for row in rows])


def test_auc():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 60).astype("float32"), rng.integers(0, 9, 60).astype("float32")
    pairs = [(p > n) + (p == n) / 2 for p in scores[labels == 1] for n in scores[labels == 0]]
    assert census_income.auc(labels, scores) == pytest.approx(np.mean(pairs))


@pytest.mark.slow
def test_trains_and_exports(census_folder, tmp_path, capsys):
    metrics, runs = run(census_folder, tmp_path, *SETTINGS, "--trunk", "mmoe", "--measure-alignment")
    assert metrics["trunks"]["single-task"]["alignment"] is None
    assert 0 < metrics["trunks"]["mmoe"]["alignment"] < 1
    assert "mmoe, seed 0" in capsys.readouterr().out
    assert [entry["trunk"] for entry in runs] == ["single-task", "mmoe"]
    assert metrics["trunks"].keys() == {"single-task", "mmoe"}
    sizes = [row["parameters"] for row in metrics["trunks"].values()]
    assert max(sizes) / min(sizes) < 1.1  # each within 5 % of the budget
    for entry in runs:
        row, auc = metrics["trunks"][entry["trunk"]]["never_married"], entry["never_married"]
        assert row == {"auc": [auc], "best": auc, "mean": auc}
    assert metrics["model"] == "mmoe, seed 0"
    assert metrics["test"] == {"income_auc": runs[1]["income"], "never_married_auc": runs[1]["never_married"]}
    assert metrics["trunks"]["mmoe"]["never_married"]["mean"] > 0.8
    assert (tmp_path / "auc.png").stat().st_size > 1000
    signature = tf.saved_model.load(str(tmp_path / "export" / "1")).signatures["income"]
    columns, _ = census_data.load(census_folder)[1]
    outputs = signature(**{name: tf.constant(values[:5].tolist()) for name, values in columns.items()})
    assert outputs["income_label"].shape == (5,)
    card = json.loads((tmp_path / "export" / "1" / "model_card.json").read_text())
    assert card["metrics"] == pytest.approx(metrics["test"])


@pytest.mark.slow
def test_resumes(census_folder, tmp_path, capsys, monkeypatch):
    exported = []
    monkeypatch.setattr(mtl.export, "saved_model", lambda *args, **kwargs: exported.append(kwargs["metrics"]))
    monkeypatch.setattr(census_income.metrics_file, "add_model_card", lambda *args: None)
    _, runs = run(census_folder, tmp_path, *SETTINGS, "--trunk", "mmoe")
    assert "mmoe, seed 0:" in capsys.readouterr().out
    metrics, resumed_runs = run(census_folder, tmp_path, *SETTINGS, "--trunk", "mmoe", "hard")
    assert "mmoe, seed 0:" not in capsys.readouterr().out
    assert resumed_runs[: len(runs)] == runs
    assert [entry["trunk"] for entry in resumed_runs[len(runs) :]] == ["hard"]
    best = max(resumed_runs[1:], key=lambda entry: entry["income"] + entry["never_married"])
    assert metrics["model"] == f"{best['trunk']}, seed 0"
    assert exported[1:] == [{"income_auc": best["income"], "never_married_auc": best["never_married"]}]


@pytest.mark.slow
def test_every_trunk_and_three_tasks(census_folder, tmp_path):
    metrics, _ = run(census_folder, tmp_path, *SETTINGS, "--tasks", "3", "--holdout", "0.2")
    assert metrics["trunks"].keys() == set(census_trunks.NAMES)
    assert all(0.4 < row["college"]["mean"] <= 1 for row in metrics["trunks"].values())


@pytest.mark.slow
def test_smoke(census_folder, tmp_path, capsys):
    metrics, runs = run(census_folder, tmp_path, "--smoke", "--rows", "300")
    assert [(entry["trunk"], entry["seed"]) for entry in runs] == [("single-task", 0), ("mmoe", 0)]
    assert metrics["model"] == "mmoe, seed 0"
    assert "Exported mmoe, seed 0" in capsys.readouterr().out


def test_a_parameter_budget_that_is_too_small(census_folder):
    space = census_income.load(census_income.parse(["--data", str(census_folder), *SETTINGS]), ["income"]).space
    with pytest.raises(ValueError, match="'cgc' comes within 5 % of the budget of 10 parameters"):
        census_trunks.fitting_width("cgc", 10, census_income.encoder(space), census_income.heads(["income"]))
