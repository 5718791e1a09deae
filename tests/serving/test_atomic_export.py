"""A version appears either complete or not at all: on a full disk, without permission, and if exports are killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import serving_models
import tensorflow as tf
from exporting import ATTEMPTS

import tf_mtl as mtl

FILES = (
    "saved_model.pb",
    "variables/variables.index",
    "variables/variables.data-00000-of-00001",
    "model_card.json",
    "README.md",
    "example_request.json",
    "assets.extra/tf_serving_warmup_requests",
)
KILLED_AT = ("README.md", "saved_model.pb", "variables", "")
MIN_VERSIONS = 5
X = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")


def start(name, folder):
    script = Path(__file__).with_name("exporting.py")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, str(script), name, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def attempts(name, folder):
    """Return the error of each attempt, by name."""
    with start(name, folder) as process:
        return {line["name"]: line["error"] for line in map(json.loads, process.stdout)}


def content(folder):
    return {path.relative_to(folder): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def versions(folder):
    return [path for path in folder.iterdir() if path.name.isdecimal()]


def unfinished(folder, process="*"):
    return list(folder.glob(f".writing-*-{process}-*"))


def outputs(path):
    tensors = tf.saved_model.load(str(path)).signatures["serving_default"](x=X)
    return {name: value.numpy() for name, value in tensors.items()}


@pytest.fixture
def open_folder():
    """A folder that all users can enter, unlike `tmp_path`."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_full_disk_fails_the_export_and_leaves_nothing(tmp_path):
    mtl.export.saved_model(serving_models.vectors()[0], tmp_path, check=False)
    before = content(tmp_path)
    errors = attempts("disk_full", tmp_path)
    assert set(errors) == set(ATTEMPTS)
    assert all(errors.values()), errors
    assert content(tmp_path) == before


def test_a_folder_without_permission_stays_unchanged(open_folder):
    mtl.export.saved_model(serving_models.vectors()[0], open_folder, check=False)
    open_folder.chmod(0o555)
    before = content(open_folder)
    errors = attempts("no_permission", open_folder)
    assert errors == dict.fromkeys(["next version", "version 7", "new folder"], "PermissionError")
    assert content(open_folder) == before


@pytest.mark.slow
def test_killed_exports_leave_only_complete_versions_and_the_next_export_cleans_up(tmp_path):
    model, _ = serving_models.vectors()
    mtl.export.saved_model(model, tmp_path, check=False)
    missing_files, stop = {}, threading.Event()

    def watch():
        while not stop.is_set():
            for path in versions(tmp_path):
                if path.name not in missing_files:
                    missing_files[path.name] = [name for name in FILES if not (path / name).is_file()]
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    processes, errors = [start("forever", tmp_path) for _ in KILLED_AT], set()
    try:
        for process, file in zip(processes, KILLED_AT, strict=True):
            process.stdout.readline()
            deadline = time.monotonic() + 60
            while len(missing_files) < MIN_VERSIONS or not any(
                (path / file).exists() for path in unfinished(tmp_path, process.pid)
            ):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.001)
            process.kill()
            assert process.wait() == -signal.SIGKILL
    finally:
        for process in processes:
            process.kill()
            process.wait()
            errors |= {json.loads(line)["error"] for line in process.stdout if line.endswith("\n")}
            process.stdout.close()
        stop.set()
        watcher.join()

    assert errors <= {None, "FileExistsError"}  # another process was faster
    assert {version: files for version, files in missing_files.items() if files} == {}
    assert unfinished(tmp_path)
    for path in unfinished(tmp_path):
        os.utime(path, (1e9, 1e9))
    last = mtl.export.saved_model(model, tmp_path, check=False)
    assert not unfinished(tmp_path)
    assert int(last.name) == max(int(path.name) for path in versions(tmp_path))
    expected = outputs(last)
    for path in versions(tmp_path):
        for name, value in outputs(path).items():
            serving_models.assert_same(value, expected[name])
