"""The files of a run's checkpoints: written completely or not at all, beside training, and verified when read."""

import errno
import hashlib
import io
import json
import os
import re
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_mtl._files import whole_file

_DIGEST_MARK = b"sha256:"
_CHUNK = 2**20
_KIND = "checkpoint-"
_DIGEST_SIZE = len(_DIGEST_MARK) + hashlib.sha256().digest_size


class Content(NamedTuple):
    """The content of a file.

    Attributes:
        values: JSON values by name.
        arrays: Arrays.
    """

    values: dict[str, Any]
    arrays: list[np.ndarray]


class CheckpointFiles:
    """The files that a training run writes to a folder, one after each of some steps.

    A file is a NumPy archive followed by its SHA-256 digest. A damaged one is renamed, with "damaged-" before its name,
    so that it neither counts nor is lost. Unfinished files of earlier processes are deleted by `clean`.

    Args:
        directory: The folder.
        keep: How many files to keep.

    Attributes:
        last: The step of the newest file that was written or read; None without any.
    """

    def __init__(self, directory: Path, keep: int):
        self.directory = directory
        self.keep = keep
        self.last: int | None = None
        self._readable: set[int] = set()
        self._reason = ""  # why the last file could not be written
        self._executor = ThreadPoolExecutor(1, "checkpoint")
        self._writing: tuple[int, Future] | None = None

    def clean(self) -> None:
        """Delete the unfinished files of earlier processes; no other process may be writing to the folder."""
        for unfinished in [
            *self.directory.glob(f".writing-{_KIND}*"),
            *self.directory.glob(".step-*"),
        ]:  # of version 0.1
            if not unfinished.is_dir():  # as of an export
                unfinished.unlink(missing_ok=True)

    def write(
        self,
        step: int,
        values: dict[str, Any],
        arrays: Sequence[np.ndarray],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Write the file of a step beside training, after the one before, and delete the oldest.

        Args:
            step: The number of steps taken.
            values: JSON values by name, with NumPy's numbers and arrays among them.
            arrays: Arrays, which must not change any more.
            check: A function that raises a `ValueError` if the file must not be written.
        """
        self.wait()
        header = np.frombuffer(json.dumps(values, default=_plain).encode(), "uint8")
        self._writing = step, self._executor.submit(self._write, step, [header, *arrays], check)

    def wait(self) -> None:
        """Wait until the last file is written. If it could not be, warn."""
        if self._writing is None:
            return
        (step, writing), self._writing = self._writing, None
        try:
            for message in writing.result():
                warnings.warn(message, stacklevel=3)
        except (OSError, ValueError) as error:
            kept = "there is none before it" if self.last is None else f"the newest is that of step {self.last}"
            if str(error) != self._reason:
                warnings.warn(
                    f"No checkpoint was saved after step {step}: {error}. In {self.directory}, {kept}.", stacklevel=3
                )
            self._reason = str(error)
        else:
            self.last, self._reason = step, ""

    def close(self) -> None:
        """Wait for the last file, and end the thread."""
        self.wait()
        self._executor.shutdown()

    def newest(self, rename: bool) -> Content | None:
        """Return the content of the newest file that is not damaged.

        Args:
            rename: Whether to rename those that are damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                content = self.read(step)
            except ValueError as error:
                warnings.warn(f"{error}. It is not used.", stacklevel=4)
                if rename:
                    self._set_aside(step)
                continue
            self.last = step
            self._readable.add(step)
            return content
        if steps:
            warnings.warn(f"No checkpoint in {self.directory} can be read. Training starts from scratch.", stacklevel=4)
        return None

    def steps(self, worker: int = 0) -> list[int]:
        """Return the steps that have a file, in increasing order.

        Args:
            worker: 0, or the index of another worker, which wrote files of its own in version 0.1.
        """
        matches = [re.fullmatch(rf"step-(\d+)\.worker-{worker}\.npz", path.name) for path in self.directory.glob("*")]
        return sorted(int(match[1]) for match in matches if match)

    def read(self, step: int, worker: int = 0) -> Content:
        """Return the content of a file.

        Raises:
            ValueError: if the file does not exist or is damaged.
            OSError: if it cannot be read for other reasons.
        """
        path = self._path(step, worker)
        try:
            with open(path, "rb") as file:
                _check_digest(file)
                with np.load(file) as archive:
                    values, *arrays = [archive[name] for name in archive.files]
            return Content(json.loads(values.tobytes()), arrays)
        except MemoryError:
            raise
        except Exception as error:  # what a damaged archive may raise is not documented
            if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):  # the disk failed, not the file
                raise
            raise ValueError(f"{path} is not a complete checkpoint: {error}") from error

    def _write(self, step, arrays, check):
        check()
        messages: list[str] = []
        self.directory.mkdir(parents=True, exist_ok=True)
        with whole_file(self._path(step), _KIND) as file:
            writer = _DigestingWriter(file)
            np.savez(writer, *arrays)
            file.write(_DIGEST_MARK + writer.digest.digest())
        self._readable.add(step)
        earlier = [other for other in self.steps() if other < step]
        for old in earlier:
            if old not in self._readable and (error := self._verified(old)):
                messages.append(f"{error}. It is renamed.")
        for old in [other for other in earlier if other in self._readable][: 1 - self.keep]:
            for path in self.directory.glob(f"step-{old:010d}.worker-*.npz"):
                path.unlink(missing_ok=True)
        return messages

    def _verified(self, step):
        """Read the file of an earlier run, and rename it if it is damaged, which is then returned as an error."""
        try:
            self.read(step)
        except ValueError as error:
            self._set_aside(step)
            return error
        self._readable.add(step)
        return None

    def _set_aside(self, step):
        for path in self.directory.glob(f"step-{step:010d}.worker-*.npz"):
            os.replace(path, path.with_name(f"damaged-{path.name}"))

    def _path(self, step, worker=0):
        return self.directory / f"step-{step:010d}.worker-{worker}.npz"


def typed(array: np.ndarray, dtype: str) -> np.ndarray:
    """Return an array with its type. NumPy's files do not know bfloat16, for example, and hold bytes instead."""
    return array.view(tf.as_dtype(dtype).as_numpy_dtype) if array.dtype.kind == "V" else array


def _plain(value):
    """A value of NumPy or TensorFlow as numbers and lists."""
    return np.asarray(value).tolist()


class _DigestingWriter(io.RawIOBase):
    """Passes what is written to a file, as to a stream without positions, and computes its digest."""

    def __init__(self, file):
        self.digest = hashlib.sha256()
        self._file = file

    def writable(self):
        return True

    def write(self, data):
        self.digest.update(data)
        return self._file.write(data)


def _check_digest(file):
    """Compare the content of a file with the digest at its end, which files of version 0.1 do not have."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _DIGEST_SIZE))
    end = file.read()
    file.seek(0)
    if not end.startswith(_DIGEST_MARK):
        return
    digest, left = hashlib.sha256(), size - _DIGEST_SIZE
    while left:
        chunk = file.read(min(left, _CHUNK))
        digest.update(chunk)
        left -= len(chunk)
    file.seek(0)
    if digest.digest() != end[len(_DIGEST_MARK) :]:
        raise ValueError("its digest differs")
