"""The recipe that groups census tasks, through its command line, on a few made-up people."""

import json

import numpy as np
import pytest
import tensorflow as tf
import which_tasks
import which_tasks_data
import which_tasks_report

import tf_mtl as mtl

SETTINGS = ["--smoke", "--tasks", "income", "moved", "--groups", "1", "--rows", "100", "--strategy", "one_device"]
WAYS = {"each alone", "all together", "all together, small", "groups by gains", "groups by affinity"}


def run(folder, workdir, *options):
    """Run the recipe, and return metrics.json and results.json."""
    which_tasks.main(["--data", str(folder), "--workdir", str(workdir), "--export", str(workdir / "export"), *options])
    return json.loads((workdir / "metrics.json").read_text()), json.loads((workdir / "results.json").read_text())


@pytest.mark.slow
def test_compares_the_ways_and_resumes(census_folder, tmp_path, monkeypatch, capsys):
    exported = []
    monkeypatch.setattr(mtl.export, "saved_model", lambda model, *args, **kwargs: exported.append((model, kwargs)))
    metrics, runs = run(census_folder, tmp_path, *SETTINGS)
    assert metrics["ways"].keys() == WAYS
    assert [entry["seed"] for entry in runs] == [0, 1, 1, 1]  # affinities, then another seed; one group is all together
    assert np.array(metrics["gains"]).shape == np.array(metrics["affinity"]).shape == (2, 2)
    ways = metrics["ways"]
    assert ways["each alone"]["delta_m"] == [0.0]
    assert ways["groups by gains"]["auc"] == ways["all together"]["auc"]
    sizes = {way: row["parameters"] for way, row in ways.items()}
    assert sizes["all together, small"] < 0.7 * sizes["each alone"]
    assert sizes["all together"] == pytest.approx(sizes["each alone"], rel=0.05)
    (model, kwargs), names = exported[0], ["income", "moved"]
    assert [*model.task_names] == names
    assert (
        kwargs["metrics"]
        == metrics["test"]
        == {f"{task}_auc": ways["groups by gains"]["auc"][task][0] for task in names}
    )
    assert "Affinity, times 100,000" in (tmp_path / "results.md").read_text()

    capsys.readouterr()
    again, _ = run(census_folder, tmp_path, *SETTINGS)
    assert again == metrics
    assert "3 models, 3 of them finished" in capsys.readouterr().out


def test_batches_are_the_same_each_time(census_folder):
    args = which_tasks.parse(["--data", str(census_folder), *SETTINGS])
    data = which_tasks_data.load(args)
    rows = which_tasks_data.batches(data.train, args, epochs=2)
    epochs = [np.concatenate([labels["income"] for _, labels, _ in rows]) for _ in range(2)]
    np.testing.assert_array_equal(*epochs)
    assert epochs[0].shape == (200,)
    assert epochs[0][:100].sum() == epochs[0][100:].sum() == data.train[1]["income"].sum()
    for _, labels, weights in rows:
        np.testing.assert_array_equal(weights["moved"] == 0, np.isnan(labels["moved"]))
    assert not np.isnan(weights["income"]).any()


def test_too_many_rows(census_folder):
    args = which_tasks.parse(["--data", str(census_folder), "--rows", "301"])
    with pytest.raises(ValueError, match="must be at most 300, half of the training file, received 301"):
        which_tasks_data.load(args)


def test_agreement():
    gains = np.array([[0.0, 1.0, 2.0], [3.0, 0.0, 4.0], [5.0, 6.0, 0.0]])
    agreement = which_tasks_report.agreement(gains, np.exp(gains) + 9 * np.eye(3))
    assert agreement["spearman"] == pytest.approx(1)
    assert 0.8 < agreement["pearson"] < 1
    assert which_tasks_report.agreement(gains, -gains) == {"pearson": pytest.approx(-1), "spearman": pytest.approx(-1)}


@pytest.mark.slow
def test_smoke(census_folder, tmp_path, capsys):
    metrics, _ = run(census_folder, tmp_path, "--smoke", "--strategy", "one_device")
    assert "Exported the groups, combined" in capsys.readouterr().out
    assert metrics["test"].keys() == {"dividends_auc", "self_employed_auc", "moved_auc"}
    signature = tf.saved_model.load(str(tmp_path / "export" / "1")).signatures["moved"]
    data = which_tasks_data.load(which_tasks.parse(["--data", str(census_folder), "--smoke"]))
    columns = {name: tf.constant(values[:5].tolist()) for name, values in data.examples.items()}
    assert signature(**columns)["moved_label"].shape == (5,)
    assert not {"class_of_worker", "tax_filer_stat"} & columns.keys()
