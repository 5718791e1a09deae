"""The Census-Income recipe through its command line, on a few made-up people."""

import json

import census_data
import census_income
import census_trunks
import numpy as np
import pytest
import tensorflow as tf

ROWS = {"train": 600, "test": 200}
SETTINGS = ["--epochs", "15", "--batch-size", "64", "--width", "12", "--seeds", "1"]


def person(rng):
    """A row of the file, in which education and weeks of work tell the income, and age the marital status."""
    fields = [f" {rng.choice(['A', 'B', '?'])}" for _ in range(42)]
    age, weeks, education = rng.integers(90), rng.integers(53), rng.integers(4)
    fields[0], fields[39], fields[24] = str(age), f" {weeks}", f" {rng.random() * 2000:.2f}"
    fields[4] = [" Children", " High school graduate", " Bachelors degree(BA AB BS)", " Doctorate degree(PhD EdD)"][
        education
    ]
    for place in (5, 16, 17, 18):
        fields[place] = f" {rng.choice([0, 0, 0, 1500, 99999])}"
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


def run(folder, output, *options):
    census_income.main(
        ["--data", str(folder), "--output", str(output), "--export", str(output / "export"), *SETTINGS, *options]
    )
    return json.loads((output / "metrics.json").read_text()), json.loads((output / "results.json").read_text())


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


def test_runs_resumes_and_exports(folder, tmp_path, capsys):
    metrics, runs = run(folder, tmp_path, "--trunk", "mmoe", "cross_stitch")
    printed = capsys.readouterr().out
    assert "mmoe, seed 0" in printed
    assert metrics["trunks"].keys() == {"single-task", "mmoe", "cross_stitch"}
    sizes = [row["parameters"] for row in metrics["trunks"].values()]
    assert max(sizes) / min(sizes) < 1.1  # each within 5 % of the budget
    for run_ in runs:
        row = metrics["trunks"][run_["trunk"]]["never_married"]
        assert row == {"auc": [run_["never_married"]], "best": run_["never_married"], "mean": run_["never_married"]}
    assert metrics["trunks"]["mmoe"]["never_married"]["mean"] > 0.8
    assert (tmp_path / "auc.png").stat().st_size > 1000
    served = tf.saved_model.load(str(tmp_path / "export" / "1")).signatures["income"]
    columns, _ = census_data.load(folder)[1]
    answer = served(**{name: tf.constant(values[:5].tolist()) for name, values in columns.items()})
    assert answer["income_label"].shape == (5,)
    card = json.loads((tmp_path / "export" / "1" / "model_card.json").read_text())
    assert card["metrics"].keys() == {"income_auc", "never_married_auc"}

    _, again = run(folder, tmp_path, "--trunk", "mmoe", "hard")
    assert "mmoe, seed 0:" not in capsys.readouterr().out
    assert again[: len(runs)] == runs
    assert [run_["trunk"] for run_ in again[len(runs) :]] == ["hard"]


@pytest.mark.slow
def test_every_trunk_and_three_tasks(folder, tmp_path):
    metrics, _ = run(folder, tmp_path, "--tasks", "3", "--holdout", "0.2")
    assert metrics["trunks"].keys() == set(census_trunks.NAMES)
    assert all(0.4 < row["college"]["mean"] <= 1 for row in metrics["trunks"].values())


def test_a_budget_that_cannot_be_met(folder):
    _, _, space, _ = census_income.data(census_income.parse(["--data", str(folder), *SETTINGS]), ["income"])
    with pytest.raises(ValueError, match="'cgc' has .* parameters at the nearest; the budget is 10"):
        census_trunks.fitting_width("cgc", 10, census_income.encoder(space), census_income.heads(["income"]))
