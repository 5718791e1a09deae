"""Version folders that appear complete or not at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tf_mtl._arguments import integer
from tf_mtl._files import heartbeat, remove_leftovers, sync, unfinished_path


@contextlib.contextmanager
def new_version(directory: Path, version: int | None) -> Iterator[tuple[Path, int]]:
    """Yield a folder to write to and a version number.

    The folder becomes `directory`/`number` when the block ends without an error. Until then it is a hidden folder
    beside the versions, on the same disk, which servers ignore. Such folders of killed processes are deleted first,
    when their heartbeat has stopped.

    Args:
        directory: The folder of all versions, created if it does not exist.
        version: The number; None for one more than the highest existing one.

    Raises:
        ValueError: if `version` is not a positive integer, or `directory` is a file or a link to nothing.
        FileExistsError: if the version already exists, or another process writes it meanwhile.
    """
    if os.path.lexists(directory) and not directory.is_dir():
        raise ValueError(f"`directory` must be a folder, but {directory} is a file or a link to nothing. Delete it.")
    existing = _existing_versions(directory)
    version = max(existing, default=0) + 1 if version is None else integer("version", version, 1)
    if version in existing:
        raise FileExistsError(f"Version {version} already exists in {directory}. Leave out `version` for the next one.")
    directory.mkdir(parents=True, exist_ok=True)
    remove_leftovers(directory)
    folder, target = unfinished_path(directory), directory / str(version)
    folder.mkdir()
    try:
        with heartbeat(folder):
            yield folder, version
            _flush(folder)
            try:
                os.rename(folder, target)  # fails if the target is a folder that is not empty, or no folder
            except OSError as error:
                if version not in _existing_versions(directory):
                    raise
                raise FileExistsError(f"Another process has written version {version} to {directory}.") from error
        sync(directory)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _existing_versions(directory):
    """The numbers that files, folders and links have as their names, `07` as well as `7`."""
    return {int(path.name) for path in directory.glob("*") if path.name.isdecimal()}


def _flush(folder):
    for path in [*folder.rglob("*"), folder]:
        sync(path)
