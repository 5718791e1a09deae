"""Atomic writing: a file is complete or does not exist, even if the process that writes it is killed."""

import contextlib
import os
import re
import shutil
import socket
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

BEAT_SECONDS = 10.0
STOPPED_SECONDS = 600.0


@contextlib.contextmanager
def whole_file(path: Path, kind: str = "") -> Iterator[BinaryIO]:
    """Open a file that gets its name when it is completely on disk; until then it is an `unfinished_file`."""
    with unfinished_file(path.parent, kind) as file:
        yield file
        publish(file, path)


@contextlib.contextmanager
def unfinished_file(folder: Path, kind: str = "") -> Iterator[BinaryIO]:
    """Open a new file with a name of `unfinished_path`, which is deleted after the block unless it was published."""
    remove_leftovers(folder)
    path = unfinished_path(folder, kind)
    try:
        with open(path, "xb") as file, heartbeat(path):
            yield file
    finally:
        path.unlink(missing_ok=True)


def publish(file: BinaryIO, path: Path) -> None:
    """Give an unfinished file of the same folder its final name, when it is completely on disk."""
    file.flush()
    os.fsync(file.fileno())
    os.replace(file.name, path)
    sync(path.parent)


def unfinished_path(folder: Path, kind: str = "") -> Path:
    """Return a path in a folder for an unfinished file or folder. No other process has it; its name starts with a dot.

    The writer keeps it alive with `heartbeat`.

    Args:
        folder: The folder.
        kind: A part of the name, to find the files of one kind of writer.
    """
    return folder / f".writing-{kind}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"


def remove_leftovers(folder: Path) -> None:
    """Delete the unfinished files and folders in a folder whose heartbeat has stopped: their writers were killed.

    The names do not tell whether a writer lives, since containers may share host names and process numbers.
    """
    for path in folder.glob(".writing-*"):
        is_leftover = re.fullmatch(r"\.writing-.+-\d+-[0-9a-f]{32}", path.name) and not path.is_symlink()
        with contextlib.suppress(OSError):  # of another user, or just removed by another process
            if is_leftover and heartbeat_stopped(path):
                # under a new name first: a writer that was only suspended must not publish what is half deleted
                path = path.rename(unfinished_path(folder))
                shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextlib.contextmanager
def heartbeat(path: str | os.PathLike, seconds: float = BEAT_SECONDS) -> Iterator[None]:
    """Show other processes and hosts that the owner of a path lives, while the block runs.

    A thread sets the path's modification time to now, by the clock of its file system. The thread ends with the block,
    and dies with the process. A path that vanishes or moves meanwhile is no error.

    Args:
        path: An existing file or folder.
        seconds: The time between two beats.

    Raises:
        OSError: if the path does not exist or cannot be changed at the start.
    """
    ended = threading.Event()

    def beat():
        while not ended.wait(seconds):
            with contextlib.suppress(OSError):  # a file system that fails for a moment must not end the thread
                os.utime(path)

    os.utime(path)
    thread = threading.Thread(target=beat, name=f"heartbeat of {path}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def heartbeat_stopped(path: str | os.PathLike, seconds: float = STOPPED_SECONDS) -> bool:
    """Return whether the last beat of `heartbeat(path)` is more than some seconds ago, or the path does not exist.

    The age is measured by the clock of the file system, since clocks of hosts differ. The folder of the path must be
    writable.
    """
    with tempfile.TemporaryFile(dir=Path(path).parent) as now:
        os.utime(now.fileno())
        try:
            return os.fstat(now.fileno()).st_mtime - os.stat(path).st_mtime > seconds
        except FileNotFoundError:
            return True


def sync(path: Path) -> None:
    """Write a file's buffered contents, or the entries of a directory, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
