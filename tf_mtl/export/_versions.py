"""Version folders that appear whole or not at all."""

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
    """Give a folder to write to and a number; it becomes `directory`/`number` when the block ends without an error.

    It lies beside the versions, on the same disk, under a name that no server takes for a version. What a killed
    process of this machine left behind is deleted first.

    Args:
        directory: The folder of all versions, made if need be.
        version: A number; None for one more than the highest there is.

    Raises:
        ValueError: if `version` is not a positive integer.
        FileExistsError: if the version is there already, or another process puts it there meanwhile.
    """
    version = _next(directory) if version is None else integer("version", version, 1)
    target = directory / str(version)
    if target.exists():
        raise FileExistsError(f"Version {version} is in {directory} already; leave `version` out for the next one.")
    directory.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(directory)
    folder = directory / f".writing-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        yield folder, version
        _flush(folder)
        try:
            os.rename(folder, target)  # fails where there is a folder that holds anything
        except OSError as error:
            if not target.exists():
                raise
            raise FileExistsError(f"Another process has put version {version} into {directory}.") from error
        sync(directory)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _next(directory):
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
        except PermissionError:  # of a living process of another user
            continue


def _flush(folder):
    for path in [*folder.rglob("*"), folder]:
        sync(path)
