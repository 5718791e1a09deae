"""The Fashion-MNIST recipe through its command line, on a few made-up images."""

import gzip
import json

import fashion_data
import fashion_pairs
import fashion_report
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

ROWS = 64
SETTINGS = ["--measure-alignment", "--pairs", "64", "--test-pairs", "40", "--epochs", "1", "--batch-size", "32"]
METHODS = ["--methods", "equal", "pcgrad"]


def images(seed):
    """Labels, and images with a bright stripe whose column depends on the label."""
    labels = np.random.default_rng(seed).permutation(np.arange(ROWS) % 10).astype("uint8")
    pixels = np.random.default_rng(seed).integers(0, 50, (ROWS, 28, 28), dtype="uint8")
    for image, label in zip(pixels, labels, strict=True):
        image[:, 2 * label : 2 * label + 4] = 200
    return pixels, labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fashion")
    for seed, part in enumerate(("train", "t10k")):
        for kind, values in zip(("images-idx3", "labels-idx1"), images(seed), strict=True):
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + values.tobytes()))
    return folder


def run(folder, workdir, *options):
    """Run the recipe, and return metrics.json and results.json."""
    fashion_pairs.main(
        ["--data", str(folder), "--workdir", str(workdir), "--export", str(workdir / "export"), *options]
    )
    return json.loads((workdir / "metrics.json").read_text()), json.loads((workdir / "results.json").read_text())


def test_overlay():
    left, right = (np.random.default_rng(seed).integers(0, 256, (3, 28, 28), dtype="uint8") for seed in (0, 1))
    canvas = fashion_data.overlay(left, right)
    assert (canvas.shape, canvas.dtype) == ((3, 36, 36, 1), np.uint8)
    for n, row, column in np.ndindex(3, 36, 36):
        pixels = [0]
        if row < 28 and column < 28:
            pixels.append(left[n, row, column])
        if row >= 8 and column >= 8:
            pixels.append(right[n, row - 8, column - 8])
        assert canvas[n, row, column, 0] == max(pixels)


def test_pairs_consist_of_the_images_of_their_labels(folder):
    for part, seed in (("train", 0), ("test", 1)):
        pixels, labels = images(seed)
        canvases, classes = fashion_data.load(part, 300, folder, seed=5)
        left, right = np.random.default_rng(5).integers(ROWS, size=(2, 300))
        np.testing.assert_array_equal(canvases, fashion_data.overlay(pixels[left], pixels[right]))
        np.testing.assert_array_equal(classes["left"], labels[left])
        np.testing.assert_array_equal(classes["right"], labels[right])
        assert (left != right).mean() > 0.9
    assert not np.array_equal(canvases, fashion_data.load("test", 300, folder, seed=6)[0])


def test_images_from_tfds(folder, monkeypatch):
    import tensorflow_datasets as tfds

    def load(name, split, as_supervised):
        assert (name, as_supervised) == ("fashion_mnist", True)
        pixels, labels = images(["train", "test"].index(split))
        return tf.data.Dataset.from_tensor_slices((pixels[..., None], labels.astype("int64")))

    monkeypatch.setattr(tfds, "load", load)
    for part in ("train", "test"):
        canvases, labels = fashion_data.load(part, 100)
        expected_canvases, expected_labels = fashion_data.load(part, 100, folder)
        np.testing.assert_array_equal(canvases, expected_canvases)
        for task in ("left", "right"):
            np.testing.assert_array_equal(labels[task], expected_labels[task])
            assert labels[task].dtype == expected_labels[task].dtype


@pytest.mark.slow
def test_command_line(folder, tmp_path, capsys, monkeypatch):
    fit, results = fashion_pairs.fit, {}

    def kept_fit(tasks, *others):
        results[tuple(tasks)] = fit(tasks, *others)
        return results[tuple(tasks)]

    monkeypatch.setattr(fashion_pairs, "fit", kept_fit)
    metrics, runs = run(folder, tmp_path, *SETTINGS, *METHODS, "--seeds", "1")
    assert [(entry["method"], entry["seed"]) for entry in runs] == [("single-task", 0), ("equal", 0), ("pcgrad", 0)]
    assert set(metrics["methods"]) == {"single-task", "equal", "pcgrad"}
    assert metrics["methods"]["single-task"]["delta_m"] == 0
    assert metrics["options"]["data"] == str(folder)
    best = max(runs[1:], key=lambda entry: entry["left"] + entry["right"])
    assert metrics["model"] == f"{best['method']}, seed 0"
    assert metrics["test"] == {"left_accuracy": best["left"], "right_accuracy": best["right"]}
    signature = tf.saved_model.load(str(tmp_path / "export" / "1")).signatures["left"]
    assert signature(canvas=tf.zeros((5, 36, 36, 1)))["left_label"].shape == (5,)
    for method in metrics["methods"].values():
        assert 0 < method["left"] <= 1
        assert 0 < method["right"] <= 1
        assert method["step_ms"] > 0
    assert metrics["methods"]["equal"]["conflict"] is None
    assert 0 <= metrics["methods"]["pcgrad"]["conflict"] <= 1
    assert metrics["methods"]["single-task"]["alignment"] is None
    assert 0 < metrics["methods"]["pcgrad"]["alignment"] < 1
    table = (tmp_path / "results.md").read_text()
    assert table in capsys.readouterr().out
    assert f"| {100 * metrics['methods']['equal']['left']:.2f} " in table
    assert (tmp_path / "accuracies.png").read_bytes().startswith(b"\x89PNG")

    trained = []

    def recorded_fit(tasks, method, seed, *others):
        trained.append((*tasks, method, seed))
        return results[tuple(tasks)]  # which is quicker than to train

    monkeypatch.setattr(fashion_pairs, "fit", recorded_fit)
    monkeypatch.setattr(mtl.export, "saved_model", lambda *args, **kwargs: None)  # it takes seconds
    monkeypatch.setattr(fashion_pairs.metrics_file, "add_model_card", lambda *args: None)
    assert run(folder, tmp_path, *SETTINGS, *METHODS, "--seeds", "1") == (metrics, runs)
    assert trained == []
    metrics, more_runs = run(folder, tmp_path, *SETTINGS, *METHODS, "--seeds", "2")
    single_task_runs = [("left", "equal", 1), ("right", "equal", 1)]
    assert trained == [*single_task_runs, ("left", "right", "equal", 1), ("left", "right", "pcgrad", 1)]
    assert more_runs[:3] == runs
    assert metrics["methods"]["equal"]["seeds"]["left"] == [more_runs[1]["left"], more_runs[4]["left"]]
    run(folder, tmp_path, *SETTINGS, "--methods", "equal", "--seeds", "1", "--learning-rate", "0.01")
    assert len(trained) == 7


@pytest.mark.slow
def test_a_seed_always_gives_the_same_numbers(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(mtl.export, "saved_model", lambda *args, **kwargs: None)
    monkeypatch.setattr(fashion_pairs.metrics_file, "add_model_card", lambda *args: None)
    runs = [run(folder, tmp_path / name, *SETTINGS, "--methods", "equal", "--seeds", "1")[1] for name in "ab"]
    for a, b in zip(*runs, strict=True):
        assert {**a, "step_ms": 0} == {**b, "step_ms": 0}


@pytest.mark.slow
def test_smoke(folder, tmp_path, capsys):
    metrics, runs = run(folder, tmp_path, "--smoke")
    assert [entry["method"] for entry in runs] == ["single-task", "equal", "pcgrad"]
    assert f"Exported {metrics['model']}, to" in capsys.readouterr().out


def test_summary():
    """The best delta-m comes first, conflicts are averaged, and the time is the median."""
    accuracies = {"single-task": [(0.8, 0.5)] * 2, "bad": [(0.6, 0.5)] * 2, "good": [(0.8, 0.5), (0.9, 0.6)]}
    conflicts = {"single-task": [None, None], "bad": [None, None], "good": [0.2, 0.4]}
    runs = [
        {
            "method": method,
            "seed": seed,
            "left": left,
            "right": right,
            "conflict": conflicts[method][seed],
            "alignment": 0.5 + 0.2 * seed if method == "good" else None,
            "step_ms": 4,
        }
        for method, pairs_by_seed in accuracies.items()
        for seed, (left, right) in enumerate(pairs_by_seed)
    ]
    rows = fashion_report.summary(runs)
    assert list(rows) == ["good", "single-task", "bad"]
    assert rows["bad"]["delta_m"] == pytest.approx(-0.125)
    cells = fashion_report.cells("good", rows["good"])
    interval = "+8.12% [-95.11%, +111.36%]"  # 0 and 16.25 %, by Student's t with one degree of freedom
    assert cells == ["good", "85.00 +- 7.07", "55.00 +- 7.07", interval, "no difference", pytest.approx(30), 0.6, 4]
    assert fashion_report.cells("bad", rows["bad"])[4:7] == ["negative transfer", None, None]


def test_unknown_methods_are_refused_before_training(capsys):
    with pytest.raises(SystemExit):
        fashion_pairs.main(["--methods", "eqal"])
    assert "'Equal'" in capsys.readouterr().err
