"""One training run at a time in a folder, however the one before has ended."""

import json
import os
import resource
import threading
import time

import processes
import pytest

from tf_mtl.callbacks import _run_lock
from tf_mtl.callbacks._run_lock import run_lock

OWNER = """
import sys, time
from pathlib import Path
from tf_mtl.callbacks._run_lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("owned", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "owner.py"
    path.write_text(OWNER)
    return path


def test_a_second_run_is_refused_until_the_first_has_ended(script, tmp_path):
    process = processes.start(script, tmp_path / "run")
    assert process.stdout.readline() == "owned\n"
    with (
        pytest.raises(RuntimeError, match=r"in use by another run, process \d+ on host .*another directory"),
        run_lock(tmp_path / "run"),
    ):
        pass
    process.kill()
    process.wait()
    started = time.monotonic()
    with run_lock(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / ".lock").read_text())["process"] == os.getpid()
    assert time.monotonic() - started < 5
    assert (tmp_path / "run" / ".lock").read_text() == ""


def test_a_second_run_of_one_process_is_refused(tmp_path):
    with run_lock(tmp_path), pytest.raises(RuntimeError, match=f"process {os.getpid()}"), run_lock(tmp_path / "."):
        pass
    with run_lock(tmp_path):
        pass


def of_another_host(directory, age):
    """A lock file as a run on another host leaves it, whose lock is not seen here."""
    path = directory / ".lock"
    path.write_text(json.dumps({"process": 1, "host": "other", "boot": "another"}))
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def test_a_host_whose_heartbeat_has_stopped_long_ago_is_dead(tmp_path):
    of_another_host(tmp_path, age=1000)
    with run_lock(tmp_path):
        pass


def test_a_host_whose_heartbeat_stops_is_dead(tmp_path, monkeypatch):
    monkeypatch.setattr(_run_lock, "_STOPPED_SECONDS", 1.5)
    of_another_host(tmp_path, age=0)
    with run_lock(tmp_path):
        pass


def test_a_host_whose_heartbeat_is_seen_lives(tmp_path):
    path = of_another_host(tmp_path, age=5)
    beat = threading.Timer(1, os.utime, [path])
    beat.start()
    with pytest.raises(RuntimeError, match="process 1 on host other"), run_lock(tmp_path):
        pass
    beat.join()


@pytest.mark.parametrize("content", [b'{"process": 1', b"\xff\x90", bytes(100), b"[1]", b"7"])
def test_a_lock_whose_content_is_damaged(tmp_path, content):
    (tmp_path / ".lock").write_bytes(content)
    with run_lock(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["process"] == os.getpid()


def test_a_refused_run_of_one_process_leaves_the_lock(script, tmp_path):
    with run_lock(tmp_path):
        with pytest.raises(RuntimeError, match="in use by another run"), run_lock(tmp_path):
            pass
        process = processes.start(script, tmp_path)
        assert process.stdout.readline() == ""
        assert f"process {os.getpid()}" in process.communicate()[1]


def test_a_full_disk_does_not_end_a_run(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with run_lock(tmp_path), pytest.raises(RuntimeError, match="in use"), run_lock(tmp_path):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / ".lock").read_bytes() == b""
