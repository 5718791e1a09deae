"""The other files of an export: model card, README, warm-up file, batching parameters."""

import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

import tf_mtl as mtl
from tf_mtl import _files
from tf_mtl.export import _versions
from tf_mtl.export._versions import new_version


def build(**inputs):
    inputs = inputs or {"x": 4}
    layers = {name: keras.Input((size,), name=name) for name, size in inputs.items()}
    encoder = mtl.encoders.MLPEncoder([8])
    tasks = [mtl.tasks.Classification("kind", ["a", "b"], top_k=1), mtl.tasks.Regression("price", high=9)]
    if len(layers) == 1:
        return mtl.build_model(*layers.values(), mtl.trunks.HardSharing(encoder), tasks)
    joined = mtl.trunks.HardSharing(lambda x: encoder(keras.layers.Concatenate()(list(x.values()))))
    return mtl.build_model(layers, joined, tasks)


def test_the_model_card_describes_the_export(tmp_path):
    model = build()
    results = {"kind_accuracy": np.float32(0.75)}
    path = mtl.export.saved_model(model, tmp_path / "shop", metrics=results, data="Sales of 2025.", check=False)
    card = json.loads((path / "model_card.json").read_text())
    assert (card["name"], card["version"], card["parameters"]) == ("shop", 1, model.count_params())
    assert card["metrics"] == {"kind_accuracy": 0.75}
    assert card["tasks"][0]["kind"] == "Classification"
    assert card["tasks"][0]["labels"] == ["a", "b"]
    assert card["tasks"][1]["high"] == 9
    signatures = tf.saved_model.load(str(path)).signatures
    assert set(card["signatures"]) == set(signatures)
    for name, signature in card["signatures"].items():
        specs = signatures[name].structured_outputs
        assert {k: (v["dtype"], v["shape"]) for k, v in signature["outputs"].items()} == {
            k: (v.dtype.name, v.shape.as_list()) for k, v in specs.items()
        }
        assert signature["inputs"] == {"x": {"dtype": "float32", "shape": [None, 4]}}
    page = (path / "README.md").read_text()
    for part in ("# shop, version 1", "Sales of 2025.", "| kind_accuracy | 0.7500 |", "x: float32 [batch, 4]"):
        assert part in page


def test_the_warm_up_file_contains_a_request_to_every_signature_and_its_response(tmp_path):
    model = build()
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    path = mtl.export.saved_model(model, tmp_path / "shop", warmup=x, check=False)
    records = tf.data.TFRecordDataset(str(path / "assets.extra" / "tf_serving_warmup_requests")).as_numpy_iterator()
    logs = [prediction_log_pb2.PredictionLog.FromString(record).predict_log for record in records]
    assert [log.request.model_spec.signature_name for log in logs] == ["serving_default", "kind", "price"]
    assert {log.request.model_spec.name for log in logs} == {"shop"}
    answers = model.decode(model(x))
    for log in logs:
        np.testing.assert_array_equal(tf.make_ndarray(log.request.inputs["x"]), x)
        for name, value in log.response.outputs.items():
            task, part = name.split("_", 1)
            expected = answers[task][part]
            output = tf.make_ndarray(value)
            if expected.dtype.kind == "U":
                assert output.astype("U").tolist() == expected.tolist()
            else:
                np.testing.assert_allclose(output, expected, rtol=1e-6)
    assert set(logs[1].response.outputs) == {"kind_label", "kind_score", "kind_top_labels", "kind_top_scores"}


def test_batching_parameters(tmp_path):
    parameters = {
        "max_batch_size": 32,
        "batch_timeout_micros": 0,
        "num_batch_threads": 2,
        "allowed_batch_sizes": [1, 32],
    }
    path = mtl.export.saved_model(build(), tmp_path, batching=parameters, check=False)
    lines = (path / "batching_params.pbtxt").read_text().splitlines()
    assert lines == [
        "max_batch_size { value: 32 }",
        "batch_timeout_micros { value: 0 }",
        "num_batch_threads { value: 2 }",
        "allowed_batch_sizes: 1",
        "allowed_batch_sizes: 32",
    ]


@pytest.mark.parametrize(
    ("batching", "message"),
    [
        ({"max_size": 4}, "received \\['max_size'\\]"),
        ({"num_batch_threads": 4}, "needs 'max_batch_size'"),
        ({"max_batch_size": 0}, "'max_batch_size'\\]` must be an integer, at least 1"),
        ({"max_batch_size": 4, "batch_timeout_micros": 0.5}, "must be an integer, at least 0"),
        ({"max_batch_size": True}, "must be an integer"),
        ({"max_batch_size": 8, "allowed_batch_sizes": [1.5, 8]}, "must be an integer"),
        ({"max_batch_size": 8, "allowed_batch_sizes": [1, 4]}, "end with max_batch_size=8"),
        ({"max_batch_size": 8, "allowed_batch_sizes": [4, 1, 8]}, "must increase"),
    ],
)
def test_batching_parameters_that_a_server_refuses(batching, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        mtl.export.saved_model(build(), tmp_path / "shop", batching=batching)
    assert not (tmp_path / "shop").exists()


@pytest.mark.parametrize(
    ("warmup", "message"),
    [
        (np.zeros((2, 4)), "must be a dict"),
        ({"x": np.zeros((2, 4))}, "must give the inputs \\['x', 'z'\\], received \\['x'\\]"),
        ({"x": np.zeros((2, 4)), "z": np.zeros((3, 2))}, "the same number of rows"),
        ({"x": np.zeros((0, 4)), "z": np.zeros((0, 2))}, "at least one"),
        ({"x": np.zeros((2, 5)), "z": np.zeros((2, 2))}, "'x' must have the shape \\(None, 4\\)"),
        ({"x": [["a"] * 4], "z": np.zeros((1, 2))}, "'x' must be float32"),
    ],
)
def test_warm_up_examples_that_do_not_fit(warmup, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        mtl.export.saved_model(build(x=4, z=2), tmp_path / "shop", warmup=warmup)
    assert not (tmp_path / "shop").exists()


@pytest.mark.parametrize("version", [0, -1, 1.5, True, "2"])
def test_versions_that_a_server_cannot_compare(version, tmp_path):
    with pytest.raises(ValueError, match="`version` must be an integer, at least 1"):
        mtl.export.saved_model(build(), tmp_path, version=version)


def test_folders_that_cannot_name_a_model(tmp_path):
    with pytest.raises(ValueError, match="letters, digits and ._-.* 'my model'"):
        mtl.export.saved_model(build(), tmp_path / "my model")
    with pytest.raises(ValueError, match="must be a local folder"):
        mtl.export.saved_model(build(), "gs://bucket/shop")


def test_a_link_keeps_its_name_and_nan_becomes_null(tmp_path):
    (tmp_path / "volume").mkdir()
    (tmp_path / "shop").symlink_to(tmp_path / "volume")
    path = mtl.export.saved_model(build(), tmp_path / "shop", metrics={"price_pearson": np.nan}, check=False)
    card = json.loads((path / "model_card.json").read_text())
    assert card["name"] == "shop"
    assert card["metrics"] == {"price_pearson": None}


def make_old(path):
    os.utime(path, (1e9, 1e9))


def test_unfinished_exports_are_removed_when_their_heartbeat_has_stopped(tmp_path):
    old, fresh = (tmp_path / f".writing-host-{os.getpid()}-{digit * 32}" for digit in "ab")
    for folder in (old, fresh):
        (folder / "variables").mkdir(parents=True)
        make_old(folder / "variables")
    make_old(old)
    with new_version(tmp_path, None):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [fresh.name, "1"]


def test_an_export_survives_one_in_another_pid_namespace(tmp_path):
    script = "import pathlib, sys, tf_mtl.export._versions as v\nwith v.new_version(pathlib.Path(sys.argv[1]), 2): pass"
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--user", "--map-root-user", sys.executable, "-c", script]
    if subprocess.run([*command[:6], "true"], capture_output=True).returncode:
        pytest.skip("needs namespaces")
    with new_version(tmp_path, 1) as (folder, _):
        (folder / "file").write_text("half")
        subprocess.run([*command, str(tmp_path)], check=True)
        assert (folder / "file").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def test_an_export_that_takes_long_has_a_heartbeat(tmp_path, monkeypatch):
    monkeypatch.setattr(_versions, "heartbeat", functools.partial(_files.heartbeat, seconds=0.02))
    with new_version(tmp_path, 1) as (folder, _):
        make_old(folder)
        time.sleep(0.5)
        with new_version(tmp_path, 2):
            pass
        assert folder.exists()


def test_a_suspended_export_is_not_published_half_deleted(tmp_path):
    def export():
        with new_version(tmp_path, 1) as (folder, _):
            make_old(folder)
            with new_version(tmp_path, 2):
                pass

    with pytest.raises(FileNotFoundError):
        export()
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


def test_other_files_and_folders_named_like_unfinished_exports_stay(tmp_path):
    names = [".writing-x", ".writing-", ".writing-a-b-c", f".writing-host-1-{'g' * 32}", f".writing-host-1-{'a' * 32}"]
    for name in names[:3]:
        (tmp_path / name).mkdir()
    (tmp_path / names[3]).touch()
    (tmp_path / names[4]).symlink_to(tmp_path / "nothing")
    for name in names[:4]:
        make_old(tmp_path / name)
    with new_version(tmp_path, None):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "1"])


def test_files_and_links_named_like_versions(tmp_path):
    (tmp_path / "3").touch()
    (tmp_path / "007").mkdir()
    (tmp_path / "9").symlink_to(tmp_path / "nothing")
    (tmp_path / "12.old").touch()
    for version in (3, 7, 9):
        with pytest.raises(FileExistsError, match=f"Version {version} already exists"), new_version(tmp_path, version):
            pass
    with new_version(tmp_path, None) as (_, version):
        assert version == 10


def test_a_directory_that_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for name in ("file", "link"):
        with pytest.raises(ValueError, match=f"`directory` must be a folder, but .*{name}"):
            mtl.export.saved_model(build(), tmp_path / name, check=False)


LABELS = [
    "two\nlines",
    "a|b",
    "<script>alert(1)</script>",
    "<!--",
    "back\\",
    "&lt;",
    "```",
    "{braces}",
    "\r\n\u2028",
    "Zo\u00eb",
]


def test_any_label_can_be_in_the_model_card_and_its_readme(tmp_path):
    trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    model = mtl.build_model(keras.Input((4,), name="x"), trunk, [mtl.tasks.Classification("kind", LABELS)])
    path = mtl.export.saved_model(model, tmp_path, signatures={}, metrics={"a|b\nc": 0.5}, check=False)
    assert json.loads((path / "model_card.json").read_text("utf-8"))["tasks"][0]["labels"] == LABELS
    page = (path / "README.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| kind")]
    assert len(rows) == 1
    assert rows[0].count("|") == 4
    assert "<" not in rows[0]
    for text in ("two lines", "a&#124;b", "&lt;script&gt;alert(1)&lt;/script&gt;", "&amp;lt;", "{braces}", "Zo\u00eb"):
        assert text in rows[0]
    assert "| a&#124;b c | 0.5000 |" in page


def test_the_readme_does_not_depend_on_the_locale(tmp_path, monkeypatch):
    write_text, encodings = Path.write_text, []
    monkeypatch.setattr(
        Path,
        "write_text",
        lambda path, text, encoding=None: encodings.append(encoding) or write_text(path, text, encoding),
    )
    mtl.export.saved_model(build(), tmp_path, signatures={}, check=False)
    assert encodings == ["utf-8"] * 3


def test_a_version_that_another_process_writes_at_the_same_time(tmp_path):
    def export():
        with new_version(tmp_path, 1) as (own_folder, _):
            (own_folder / "file").write_text("mine")
            (tmp_path / "1").mkdir()
            (tmp_path / "1" / "file").write_text("theirs")

    with pytest.raises(FileExistsError, match="Another process has written version 1"):
        export()
    assert (tmp_path / "1" / "file").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_top_k_classes():
    task = mtl.tasks.Classification("kind", ["a", "b", "c"], top_k=2)
    answer = task.decode(np.log([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]]))
    assert answer["top_labels"].numpy().tolist() == [[b"b", b"c"], [b"a", b"c"]]
    np.testing.assert_allclose(answer["top_scores"], [[0.5, 0.3], [0.6, 0.3]], rtol=1e-6)
    assert mtl.tasks.Classification.from_config(task.get_config()).top_k == 2
    with pytest.raises(ValueError, match="`top_k` of task 'kind' must be from 1 to 3"):
        mtl.tasks.Classification("kind", ["a", "b", "c"], top_k=4)
