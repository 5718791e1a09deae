"""The Census-Income recipe through its command line, on a few made-up people."""

import json

import census_data
import census_income
import census_trunks
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

ROWS = {"train": 600, "test": 200}
SETTINGS = ["--epochs", "6", "--batch-size", "64", "--width", "12", "--seeds", "1"]


def person(rng):
    """A row of the file. Education and weeks of work determine the income; age determines the marital status."""
    fields = [f" {rng.choice(['A', 'B', '?'])}" for _ in range(42)]
    age, weeks, education = rng.integers(90), rng.integers(53), rng.integers(4)
    fields[0], fields[39], fields[24] = str(age), f" {weeks}", f" {rng.random() * 2000:.2f}"
    fields[4] = [" Children", " High school graduate", " Bachelors degree(BA AB BS)", " Doctorate degree(PhD EdD)"][
        education
    ]
    for column in (5, 16, 17, 18):
        fields[column] = f" {rng.choice([0, 0, 0, 1500, 99999])}"
    fields[30], fields[40] = f" {rng.integers(7)}", " 94"
    fields[7] = " Never married" if age < 25 else " Divorced"
    return [*fields[:41], " 50000+." if weeks > 20 and education > 1 else " - 50000."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("census"), np.random.default_rng(0)
    for name, rows in ROWS.items():
        lines = [",".join(person(rng)) + "\n" for _ in range(rows)]
        (folder / f"census_income_1994_1995_{name}.csv").write_text("".join(lines))
    return folder


def run(folder, workdir, *options):
    """Run the recipe, and return metrics.json and results.json."""
    census_income.main(
        ["--data", str(folder), "--workdir", str(workdir), "--export", str(workdir / "export"), *options]
    )
    return json.loads((workdir / "metrics.json").read_text()), json.loads((workdir / "results.json").read_text())


def test_columns_and_labels(folder):
    rows = [line.split(",") for line in (folder / "census_income_1994_1995_test.csv").read_text().splitlines()]
    _, (columns, labels) = census_data.load(folder, ["income", "never_married", "college"])
    assert len(columns) == 38
    assert not {"income", "marital_stat", "education", "instance_weight"} & columns.keys()
    for i, row in enumerate(rows):
        assert columns["age"][i] == float(row[0])
        assert columns["weeks_worked_in_year"][i] == float(row[39])
        assert columns["class_of_worker"][i] == row[1].strip()
        assert labels["income"][i] == ("50000+." in row[41])
        assert labels["never_married"][i] == ("Never" in row[7])
        assert labels["college"][i] == ("degree" in row[4])
    assert "education" in census_data.load(folder)[0][0]


def test_auc():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 60).astype("float32"), rng.integers(0, 9, 60).astype("float32")
    pairs = [(p > n) + (p == n) / 2 for p in scores[labels == 1] for n in scores[labels == 0]]
    assert census_income.auc(labels, scores) == pytest.approx(np.mean(pairs))


def test_trains_and_exports(folder, tmp_path, capsys):
    metrics, runs = run(folder, tmp_path, *SETTINGS, "--trunk", "mmoe")
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
    columns, _ = census_data.load(folder)[1]
    outputs = signature(**{name: tf.constant(values[:5].tolist()) for name, values in columns.items()})
    assert outputs["income_label"].shape == (5,)
    card = json.loads((tmp_path / "export" / "1" / "model_card.json").read_text())
    assert card["metrics"] == pytest.approx(metrics["test"])


@pytest.mark.slow
def test_resumes(folder, tmp_path, capsys, monkeypatch):
    exported = []
    monkeypatch.setattr(mtl.export, "saved_model", lambda *args, **kwargs: exported.append(kwargs["metrics"]))
    monkeypatch.setattr(census_income.metrics_file, "add_model_card", lambda *args: None)
    _, runs = run(folder, tmp_path, *SETTINGS, "--trunk", "mmoe")
    assert "mmoe, seed 0:" in capsys.readouterr().out
    metrics, resumed_runs = run(folder, tmp_path, *SETTINGS, "--trunk", "mmoe", "hard")
    assert "mmoe, seed 0:" not in capsys.readouterr().out
    assert resumed_runs[: len(runs)] == runs
    assert [entry["trunk"] for entry in resumed_runs[len(runs) :]] == ["hard"]
    best = max(resumed_runs[1:], key=lambda entry: entry["income"] + entry["never_married"])
    assert metrics["model"] == f"{best['trunk']}, seed 0"
    assert exported[1:] == [{"income_auc": best["income"], "never_married_auc": best["never_married"]}]


@pytest.mark.slow
def test_every_trunk_and_three_tasks(folder, tmp_path):
    metrics, _ = run(folder, tmp_path, *SETTINGS, "--tasks", "3", "--holdout", "0.2")
    assert metrics["trunks"].keys() == set(census_trunks.NAMES)
    assert all(0.4 < row["college"]["mean"] <= 1 for row in metrics["trunks"].values())


@pytest.mark.slow
def test_smoke(folder, tmp_path, capsys):
    metrics, runs = run(folder, tmp_path, "--smoke", "--rows", "300")
    assert [(entry["trunk"], entry["seed"]) for entry in runs] == [("single-task", 0), ("mmoe", 0)]
    assert metrics["model"] == "mmoe, seed 0"
    assert "Exported mmoe, seed 0" in capsys.readouterr().out


def test_a_parameter_budget_that_is_too_small(folder):
    space = census_income.load(census_income.parse(["--data", str(folder), *SETTINGS]), ["income"]).space
    with pytest.raises(ValueError, match="'cgc' comes within 5 % of the budget of 10 parameters"):
        census_trunks.fitting_width("cgc", 10, census_income.encoder(space), census_income.heads(["income"]))
