"""The recipe `glue` through its command line, on a few hundred made-up texts, and GLUE's metrics."""

import json
import math
import random

import ask_export
import glue
import glue_data
import glue_metrics
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from scipy import stats

import tf_mtl as mtl

METRICS = {"cola_mcc", "sst2_accuracy", "mrpc_accuracy", "mrpc_f1", "stsb_pearson", "stsb_spearman", "rte_accuracy"}
HEADERS = {
    "SST-2": ["sentence", "label"],
    "MRPC": ["\ufeffQuality", "#1 ID", "#2 ID", "#1 String", "#2 String"],
    "STS-B": ["index", "sentence1", "sentence2", "score"],
    "RTE": ["index", "sentence1", "sentence2", "label"],
}


def text(rng, word):
    words = rng.choices(["the", "film", '"', "house", "was"], k=rng.randint(2, 9))
    return " ".join(rng.sample([*words, word], len(words) + 1))


def rows(folder, rng):
    """Rows of a data set: a word of the last text determines the label."""
    for index in range(rng.randint(120, 160)):
        label = rng.randint(0, 1)
        last, other = text(rng, ["red", "blue"][label]), text(rng, "green")
        yield {
            "CoLA": ["gj04", str(label), "" if label else "*", last],
            "SST-2": [last, str(label)],
            "MRPC": [str(label), "1", "2", other, last],
            "STS-B": [str(index), other, last, f"{1.25 + 2.5 * label:.3f}"],
            "RTE": [str(index), other, last, ["entailment", "not_entailment"][label]],
        }[folder]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("glue"), random.Random(0)
    for glue_set in glue_data.SETS.values():
        (folder / glue_set.folder).mkdir()
        for part in glue_data.PARTS:
            lines = [HEADERS[glue_set.folder]] if glue_set.folder in HEADERS else []
            lines += rows(glue_set.folder, rng)
            (folder / glue_set.folder / f"{part}.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def run(run_in_this_process, folder, tmp_path_factory):
    """A function that runs the recipe and returns its folder, the printed text and metrics.json."""
    workdir = tmp_path_factory.mktemp("glue_runs")
    options = "--encoder", "bilstm", "--strategy", "one_device", "--epochs", 5, "--learning-rate", 0.02

    def run(*others):
        printed = run_in_this_process("glue", workdir, "--smoke", "--data", folder, *options, *others)
        return workdir, printed, json.loads((workdir / "runs" / "metrics.json").read_text())

    return run


@pytest.fixture(scope="module")
def joint(run):
    return run("--no-single-task")


@pytest.mark.slow
def test_every_task_learns(joint):
    _, printed, document = joint
    assert document["model"] == "joint, bilstm"
    assert set(document["test"]) == METRICS
    assert min(document["test"].values()) > 0.7
    assert sum(document["fractions"].values()) == pytest.approx(1)
    (row,) = [line for line in printed.splitlines() if line.startswith("| cola") and "mcc" in line]
    assert [cell.strip() for cell in row.split("|")[1:-1]] == ["cola", "mcc", f"{document['test']['cola_mcc']:.4f}"]


def test_the_exported_model_takes_single_texts_and_pairs(joint, capsys):
    texts = "first=the red film", "second=", "first=the house", "second=the blue film"
    ask_export.main(str(joint[0] / "export" / "1"), *texts)
    lines = capsys.readouterr().out.splitlines()
    second = lines.index("the house | the blue film")
    assert lines[0] == "the red film | "
    answers = [dict(line.split() for line in part) for part in (lines[1:second], lines[second + 1 :])]
    assert answers[0]["sst2_label"] == "negative"
    assert answers[1]["mrpc_label"] == "equivalent"
    assert float(answers[1]["stsb_value"]) > 2.5
    assert answers[1]["rte_label"] in glue_data.SETS["rte"].labels


def test_texts_that_are_not_one_for_each_input():
    with pytest.raises(SystemExit, match="first=TEXT second=TEXT"):
        ask_export.by_input(["first=a", "second=b", "first=c"], ["first", "second"])
    with pytest.raises(SystemExit, match="first=TEXT second=TEXT"):
        ask_export.by_input(["a text"], ["first", "second"])


@pytest.mark.slow
def test_tuned_and_single_task_models(joint, run):
    workdir, printed, document = run("--tune")
    assert document["test"] == joint[2]["test"]  # the joint model is not trained again
    assert "Exported to" not in printed
    assert set(document["tuned"]) == set(document["single_task"]) == METRICS
    assert min(document["tuned"].values()) > 0.7
    entries = json.loads((workdir / "runs" / "results.json").read_text())
    tasks = list(glue_data.SETS)
    assert [entry["model"] for entry in entries] == ["joint", *(f"tuned {task}" for task in tasks), *tasks]
    assert "delta-m of joint models" in printed
    assert "delta-m of tuned models" in printed


def test_large_data_sets_are_drawn_as_often_as_smaller_ones():
    rows = {"small": tf.data.Dataset.range(30), "large": tf.data.Dataset.range(1000)}
    assert glue.updates(glue.parse(["--cap", "50", "--batch-size", "8"]), rows) == 10


def test_a_missing_file_and_a_missing_column(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="train.tsv"):
        glue.main(["--data", str(tmp_path), "--workdir", str(tmp_path)])
    (tmp_path / "CoLA").symlink_to(folder / "CoLA")
    (tmp_path / "SST-2").mkdir()
    (tmp_path / "SST-2" / "train.tsv").write_text("text\tlabel\nFine.\t1\n")
    with pytest.raises(ValueError, match=r"'first'.* is 'sentence', but .*SST-2/train.tsv has the columns"):
        glue.main(["--data", str(tmp_path), "--workdir", str(tmp_path)])


def test_an_unknown_label(folder, tmp_path):
    for glue_set in glue_data.SETS.values():
        (tmp_path / glue_set.folder).symlink_to(folder / glue_set.folder)
    (tmp_path / "CoLA").unlink()
    (tmp_path / "CoLA").mkdir()
    for part in glue_data.PARTS:
        (tmp_path / "CoLA" / f"{part}.tsv").write_text("gj04\t2\t\tThey left.\n")
    records = glue_data.load(tmp_path, smoke=False)
    words = mtl.text.Words.learn(glue_data.texts(records), 32, pair=glue_data.TEXTS)
    with pytest.raises(ValueError, match="'2'"):
        glue_data.encode(records, words, glue_data.tasks(records))


def test_data_sets_of_tfds():
    with tfds.testing.mock_data(num_examples=6):
        records = glue_data.load(glue_data.TFDS, smoke=False)
        words = mtl.text.Words.learn(glue_data.texts(records), 32, pair=glue_data.TEXTS)
        encoded = glue_data.encode(records, words, glue_data.tasks(records))
    for task, parts in records.items():
        assert [int(parts[part].cardinality()) for part in glue_data.PARTS] == [6, 6]
        assert set(parts["dev"].element_spec) == {*glue_data.TEXTS[: len(glue_data.SETS[task].texts)], task}
        weights = [float(weight[task]) for _, _, weight in encoded[task]["dev"]]
        assert weights == [1.0] * 6


def logits(predicted):
    return np.eye(2)[predicted]


def test_accuracy_f1_and_matthews():
    labels, predicted = np.repeat([1, 1, 0, 0], [6, 2, 3, 9]), np.repeat([1, 0, 1, 0], [6, 2, 3, 9])
    tp, fn, fp, tn = 6, 2, 3, 9
    assert glue_metrics.accuracy(labels, logits(predicted)) == pytest.approx((tp + tn) / 20)
    assert glue_metrics.f1(labels, logits(predicted)) == pytest.approx(2 * tp / (2 * tp + fp + fn))
    mcc = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert glue_metrics.matthews(labels, logits(predicted)) == pytest.approx(mcc)
    assert glue_metrics.matthews(labels, logits(np.ones(20, int))) == 0
    assert glue_metrics.f1(np.zeros(3, int), logits(np.zeros(3, int))) == 0


def test_pearson_and_spearman():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 26, 300) / 5  # with ties
    outputs = (labels + rng.normal(size=300))[:, None].astype("float32")
    assert glue_metrics.pearson(labels, outputs) == pytest.approx(stats.pearsonr(labels, outputs[:, 0])[0], abs=1e-6)
    assert glue_metrics.spearman(labels, outputs) == pytest.approx(stats.spearmanr(labels, outputs[:, 0])[0], abs=1e-6)
