"""Files of arrays in a folder, written whole or not at all, and checked when they are read."""

import json
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_mtl._files import whole_file


class Snapshots:
    """What one worker of a training run writes after some of its steps, beside the other workers.

    What an earlier process of this worker has left unfinished is deleted.

    Args:
        directory: A folder that all workers share.
        keep: How many snapshots to keep.
        worker: The number of this worker; 0 for the chief, or for one that is alone.
    """

    def __init__(self, directory: str | os.PathLike, keep: int, worker: int = 0):
        self.directory = Path(directory)
        self.keep = keep
        self.worker = worker
        for unfinished in self.directory.glob(f".step-*.worker-{worker}.npz"):
            unfinished.unlink()

    def write(self, step: int, about: dict[str, Any], arrays: Sequence[np.ndarray]) -> None:
        """Write a snapshot, and delete this worker's oldest.

        The file takes its name when all of it is on the disk.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self._path(step, self.worker)
        with whole_file(path) as file:
            np.savez(file, np.frombuffer(json.dumps(about).encode(), "uint8"), *arrays)
        for old in self.steps(self.worker)[: -self.keep]:
            self._path(old, self.worker).unlink(missing_ok=True)

    def steps(self, worker: int = 0) -> list[int]:
        """Return the steps of which a worker has a snapshot, rising."""
        found = [re.fullmatch(rf"step-(\d+)\.worker-{worker}\.npz", path.name) for path in self.directory.glob("*")]
        return sorted(int(match[1]) for match in found if match)

    def read(self, step: int, worker: int = 0) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Return a snapshot of a worker.

        Raises:
            ValueError: if the file is not there, or not as it was written.
        """
        path = self._path(step, worker)
        try:
            with np.load(path) as file:
                about, *arrays = [file[name] for name in file.files]
            return json.loads(about.tobytes()), arrays
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is not a whole checkpoint: {error}") from error

    def _path(self, step, worker):
        return self.directory / f"step-{step:010d}.worker-{worker}.npz"
