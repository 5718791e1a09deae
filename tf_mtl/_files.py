"""Atomic writing: a file is complete or does not exist, even if the process that writes it is killed."""

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

BEAT_SECONDS = 10.0
STOPPED_SECONDS = 600.0


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that gets its name when it is completely on disk; until then the name starts with a dot."""
    unfinished = path.with_name(f".{path.name}")
    try:
        with open(unfinished, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    sync(path.parent)


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
