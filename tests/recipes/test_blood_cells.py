"""The blood cell recipe through its command line, on a few made-up pictures without lists of parts."""

import json

import blood_cells
import numpy as np
import pytest
import tensorflow as tf

OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for index in range(16):
        pixels, objects = np.full((64, 80, 3), 200, "uint8"), []
        for kind, name in enumerate(["round", "thin"][: 1 + index % 2]):
            left, top = rng.integers(0, 50, 2)
            box = left, top, left + 14, top + 14 - 4 * kind
            pixels[box[1] : box[3], box[0] : box[2]] = 90 * kind
            objects.append(OBJECT.format(name, *box))
        (folder / f"{index}.jpg").write_bytes(tf.io.encode_jpeg(pixels).numpy())
        (folder / f"{index}.xml").write_text(f"<annotation>{''.join(objects)}</annotation>")
    return folder


def test_metrics_picture_and_export(folder, tmp_path, capfd):
    options = ["--data", str(folder), "--workdir", str(tmp_path), "--export", str(tmp_path / "export")]
    options += ["--epochs", "1", "--batch-size", "4", "--image-size", "32", "40", "--no-single-task"]
    blood_cells.main(options)
    printed = capfd.readouterr().out
    assert "Images: 13 train, 3 test" in printed or "Images: 14 train, 2 test" in printed
    assert "presence of thin" in printed
    test = json.loads((tmp_path / "metrics.json").read_text())["test"]
    assert set(test) == {
        *("cells_map", "cells_map50", "cells_map75", "counts_mae", "counts_rmse", "presence_accuracy", "presence_auc")
    }
    assert (tmp_path / "detections.png").stat().st_size > 10_000
    assert "cells_original_boxes" in printed
    assert (tmp_path / "export" / "1" / "saved_model.pb").exists()


def test_labels_follow_from_what_is_in_view(folder):
    import blood_cells_data

    cells = blood_cells_data.load(folder, (32, 40), None, seed=0)
    for number, (x, y) in enumerate(cells.rows["train"]):
        _, labels = cells.augment(["counts", "presence", "cells"])(x, y, tf.constant([number, 3], tf.int64))
        kinds = labels["cells"][:, 4].numpy()
        assert labels["counts"].numpy().tolist() == [(kinds == 0).sum(), (kinds == 1).sum()]
        assert labels["presence"] == int((kinds == 1).any())
    with pytest.raises(ValueError, match="--presence must be one of"):
        blood_cells_data.load(folder, (32, 40), "other", seed=0)
