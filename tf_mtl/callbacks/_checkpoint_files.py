"""The files of a run's checkpoints, written completely or not at all, and verified when they are read."""

import json
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tf_mtl._files import whole_file


class Content(NamedTuple):
    """The content of a file.

    Attributes:
        values: JSON values by name.
        arrays: Arrays.
    """

    values: dict[str, Any]
    arrays: list[np.ndarray]


class CheckpointFiles:
    """The files that one worker of a training run writes to a folder, one after each of some steps.

    Unfinished files of an earlier process of this worker are deleted.

    Args:
        directory: A folder that all workers share.
        keep: How many files of this worker to keep.
        worker: The index of this worker; 0 for the chief, and for a run with one worker.
    """

    def __init__(self, directory: str | os.PathLike, keep: int, worker: int = 0):
        self.directory = Path(directory)
        self.keep = keep
        self.worker = worker
        for unfinished in self.directory.glob(f".step-*.worker-{worker}.npz"):
            unfinished.unlink()

    def write(self, step: int, values: dict[str, Any], arrays: Sequence[np.ndarray]) -> None:
        """Write the file of a step, and delete this worker's oldest.

        The file gets its name when all of it is on the disk.

        Args:
            step: The number of steps taken.
            values: JSON values by name.
            arrays: Arrays.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with whole_file(self._path(step, self.worker)) as file:
            np.savez(file, np.frombuffer(json.dumps(values).encode(), "uint8"), *arrays)
        for old in self.steps(self.worker)[: -self.keep]:
            self._path(old, self.worker).unlink(missing_ok=True)

    def steps(self, worker: int = 0) -> list[int]:
        """Return the steps for which a worker has a file, in increasing order."""
        matches = [re.fullmatch(rf"step-(\d+)\.worker-{worker}\.npz", path.name) for path in self.directory.glob("*")]
        return sorted(int(match[1]) for match in matches if match)

    def read(self, step: int, worker: int = 0) -> Content:
        """Return the content of a worker's file.

        Raises:
            ValueError: if the file does not exist or is damaged.
        """
        path = self._path(step, worker)
        try:
            with np.load(path) as file:
                values, *arrays = [file[name] for name in file.files]
            return Content(json.loads(values.tobytes()), arrays)
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is not a complete checkpoint: {error}") from error

    def _path(self, step, worker):
        return self.directory / f"step-{step:010d}.worker-{worker}.npz"
