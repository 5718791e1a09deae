"""Heartbeats tell whether the owner of a file or folder lives."""

import os
import threading
import time

import pytest

from tf_mtl._files import heartbeat, heartbeat_stopped

SECONDS = 0.02


def make_old(path, seconds=3600):
    os.utime(path, (time.time() - seconds,) * 2)


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(SECONDS)
    return condition()


@pytest.fixture(params=["file", "folder"])
def path(request, tmp_path):
    path = tmp_path / "owned"
    path.mkdir() if request.param == "folder" else path.touch()
    return path


def test_a_heartbeat_starts_at_once_and_continues(path):
    make_old(path)
    assert heartbeat_stopped(path)
    with heartbeat(path, SECONDS):
        assert not heartbeat_stopped(path)
        make_old(path)
        assert wait_for(lambda: not heartbeat_stopped(path))


def test_a_heartbeat_ends_with_its_block(path):
    threads = threading.active_count()
    with pytest.raises(KeyError), heartbeat(path, SECONDS):
        raise KeyError
    assert threading.active_count() == threads
    make_old(path)
    time.sleep(5 * SECONDS)
    assert heartbeat_stopped(path)


def test_the_limit_of_the_age(path):
    make_old(path, 100)
    assert heartbeat_stopped(path, 90)
    assert not heartbeat_stopped(path, 110)
    assert not heartbeat_stopped(path)


def test_a_path_that_moves_is_no_error(path, tmp_path):
    with heartbeat(path, SECONDS):
        moved = path.rename(tmp_path / "moved")
        time.sleep(5 * SECONDS)
        assert heartbeat_stopped(path)
        make_old(moved)
        moved.rename(path)
        assert wait_for(lambda: not heartbeat_stopped(path))


def test_a_missing_path(tmp_path):
    assert heartbeat_stopped(tmp_path / "missing")
    with pytest.raises(FileNotFoundError), heartbeat(tmp_path / "missing"):
        pass


def test_the_age_does_not_depend_on_this_hosts_clock(path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert not heartbeat_stopped(path)
    os.utime(path, (1e9, 1e9))
    assert heartbeat_stopped(path)


def test_no_other_files_are_left(path, tmp_path):
    with heartbeat(path, SECONDS):
        assert not heartbeat_stopped(path)
    assert list(tmp_path.iterdir()) == [path]
