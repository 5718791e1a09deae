"""Version folders that appear complete or not at all."""

import contextlib
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

from tf_mtl._arguments import integer
from tf_mtl._files import sync


@contextlib.contextmanager
def new_version(directory: Path, version: int | None) -> Iterator[tuple[Path, int]]:
    """Yield a folder to write to and a version number.

    The folder becomes `directory`/`number` when the block ends without an error. Until then it is a hidden folder
    beside the versions, on the same disk, which servers ignore. Such folders of killed processes of this machine are
    deleted first.

    Args:
        directory: The folder of all versions, created if it does not exist.
        version: The number; None for one more than the highest existing one.

    Raises:
        ValueError: if `version` is not a positive integer.
        FileExistsError: if the version already exists, or another process writes it meanwhile.
    """
    version = _next_version(directory) if version is None else integer("version", version, 1)
    target = directory / str(version)
    if target.exists():
        raise FileExistsError(f"Version {version} already exists in {directory}. Leave out `version` for the next one.")
    directory.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(directory)
    folder = directory / f".writing-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        yield folder, version
        _flush(folder)
        try:
            os.rename(folder, target)  # fails if the target is a folder that is not empty
        except OSError as error:
            if not target.exists():
                raise
            raise FileExistsError(f"Another process has written version {version} to {directory}.") from error
        sync(directory)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _next_version(directory):
    return max((int(path.name) for path in directory.glob("*") if path.name.isdecimal()), default=0) + 1


def _remove_leftovers(directory):
    for path in directory.glob(".writing-*"):
        host, process, _ = path.name.removeprefix(".writing-").rsplit("-", 2)
        if host != socket.gethostname():
            continue
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            shutil.rmtree(path, ignore_errors=True)
        except PermissionError:  # a running process of another user
            continue


def _flush(folder):
    for path in [*folder.rglob("*"), folder]:
        sync(path)
