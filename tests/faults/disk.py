"""Make the disk of a process slow or full, as its options say."""

import contextlib
import errno
import os
import resource
import time

from tf_mtl.callbacks import _checkpoint_files


class _File:
    """A file that passes on what is written: slowly, and up to a number of bytes."""

    def __init__(self, file, pause, space):
        self._file, self._pause, self._space = file, pause, space

    def write(self, data):
        if self._space is not None:
            self._space -= len(data)
            if self._space < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._file.write(data)
        if self._pause:
            self._file.flush()  # so that a kill leaves half a file
            time.sleep(self._pause)
        return written


def disturb_checkpoints(pause, full, space):
    """Let each write to a checkpoint take some seconds, and some checkpoints find only some bytes of space.

    Args:
        pause: The seconds.
        full: The indices of the checkpoints of this process that find the disk full.
        space: The bytes.
    """
    original, count = _checkpoint_files.whole_file, iter(range(10**9))

    @contextlib.contextmanager
    def whole_file(*args):
        with original(*args) as file:
            yield _File(file, pause, space if next(count) in full else None)

    _checkpoint_files.whole_file = whole_file


def limit_files(size):
    """Let files of this process grow to so many bytes only, as on a full disk; None for no limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))
