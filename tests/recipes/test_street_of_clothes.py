"""The recipe of scenes through its command line, on a few made-up items, and what the scenes' labels say."""

import gzip
import json

import numpy as np
import pytest
import street_of_clothes
import street_of_clothes_data as data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten items: frames and discs of different brightness, one of each class."""
    folder = tmp_path_factory.mktemp("fashion")
    pixels = np.zeros((10, 28, 28), "uint8")
    for kind in range(10):
        pixels[kind, 2:26, 4 + kind // 2 : 24] = 100 + 15 * kind
    for part in ("train", "t10k"):
        for kind, values in (("images-idx3", pixels), ("labels-idx1", np.arange(10, dtype="uint8"))):
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + values.tobytes()))
    return folder


def test_labels_of_scenes(folder):
    scenes = data.load("train", 20, folder, seed=3)
    again = data.load("train", 20, folder, seed=3)
    np.testing.assert_array_equal(scenes.images, again.images)
    for scene in range(20):
        labels = {task: values[scene] for task, values in scenes.labels.items()}
        boxes = labels["items"][labels["items"][:, 4] >= 0]
        assert len(boxes) == labels["number"]
        assert boxes[-1, 4] == labels["nearest"]
        nearest = labels["depth"] == 1
        rows, columns = np.nonzero(nearest)
        np.testing.assert_allclose(
            boxes[-1, :4], [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        )  # nothing covers it
        assert set(labels["parts"][nearest]) == {1 + labels["nearest"]}
        np.testing.assert_array_equal(labels["parts"] > 0, labels["depth"] > 0)
        np.testing.assert_array_equal(labels["parts"] > 0, scenes.images[scene, ..., 0] > 0)
        assert labels["depth"].max() <= labels["number"]


def test_two_trunks(folder, tmp_path):
    options = ["--data", str(folder), "--workdir", str(tmp_path), "--export", str(tmp_path / "export")]
    options += ["--models", "hard", "mtan", "--scenes", "16", "--test-scenes", "8", "--epochs", "1"]
    street_of_clothes.main([*options, "--batch-size", "8", "--no-single-task", "--strategy", "one_device"])
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    expected = {f"{task}_{name}" for task, names in street_of_clothes.METRICS.items() for name in names}
    assert set(metrics["test"]) == set(metrics["models"]["mtan"]) == expected
    assert (tmp_path / "scenes.png").stat().st_size > 10_000
    assert "| mtan " in (tmp_path / "results.md").read_text()
    assert (tmp_path / "export" / "1" / "saved_model.pb").exists()


def test_delta_m():
    single = {f"{task}_{name}": 0.5 for task, names in street_of_clothes.METRICS.items() for name in names}
    assert street_of_clothes.gain_of(single, single) == 0
    better = {**single, "number_mae": 0.25, "depth_abs_rel": 0.4}  # lower is better
    assert street_of_clothes.gain_of(better, single) == pytest.approx((0.5 + 0.1) / 5)
