"""Files written whole, by several writers; heartbeats, which show whether the owner of a file or folder lives."""

import functools
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from tf_mtl import _files
from tf_mtl._files import heartbeat, heartbeat_stopped, whole_file

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


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    with whole_file(tmp_path / "a") as first:
        first.write(b"first, ")
        with whole_file(tmp_path / "a") as second:
            second.write(b"second")
            assert len(names(tmp_path)) == 2
        assert (tmp_path / "a").read_bytes() == b"second"
        first.write(b"complete")
    assert (tmp_path / "a").read_bytes() == b"first, complete"
    assert names(tmp_path) == ["a"]


def test_an_error_leaves_the_old_file(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(TypeError), whole_file(tmp_path / "a") as file:
        file.writelines([b"new", "not bytes"])
    assert (names(tmp_path), (tmp_path / "a").read_text()) == (["a"], "old")


def test_a_file_has_a_heartbeat_while_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(_files, "heartbeat", functools.partial(heartbeat, seconds=SECONDS))
    with whole_file(tmp_path / "a") as file:
        make_old(Path(file.name))
        assert wait_for(lambda: not heartbeat_stopped(file.name))


def test_leftovers_are_removed_when_their_heartbeat_has_stopped(tmp_path):
    leftovers = [tmp_path / f".writing-host-{number}-{'0' * 32}" for number in range(4)]
    for path in leftovers[:2]:
        path.touch()
    for path in leftovers[2:]:
        (path / "folder").mkdir(parents=True)
    for path in leftovers[::2]:
        make_old(path)
    with whole_file(tmp_path / "a"):
        pass
    assert names(tmp_path) == [leftovers[1].name, leftovers[3].name, "a"]


def test_leftovers_change_their_name_before_they_are_deleted(tmp_path, monkeypatch):
    leftover = tmp_path / f".writing-host-1-{'0' * 32}"
    leftover.mkdir()
    make_old(leftover)
    monkeypatch.setattr(shutil, "rmtree", lambda path: None)
    _files.remove_leftovers(tmp_path)
    (renamed,) = tmp_path.iterdir()
    assert renamed != leftover
    monkeypatch.undo()
    _files.remove_leftovers(tmp_path)  # as after a process that was killed before it could delete the folder
    assert names(tmp_path) == []
