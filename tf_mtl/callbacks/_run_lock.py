"""At most one training run at a time in a folder."""

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tf_mtl._files import BEAT_SECONDS, heartbeat, heartbeat_stopped

_STOPPED_SECONDS = 3 * BEAT_SECONDS
_owned: set[Path] = set()  # a process can lock a file more than once


@contextlib.contextmanager
def run_lock(directory: Path) -> Iterator[None]:
    """Own a folder while the block runs.

    The operating system frees the lock of a process that ends, however it ends. For file systems that do not pass locks
    to other hosts, the lock file also has a heartbeat, and its content names the owner. It remains, empty.

    Raises:
        RuntimeError: if another run owns the folder. Where its owner was on another host, this takes up to 30 seconds.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = (directory / ".lock").resolve()
    if path in _owned:  # to open the file and close it would free the lock
        raise _in_use(directory, os.getpid(), socket.gethostname())
    with open(path, "a+b", buffering=0) as file:  # with a buffer, a full disk would be an error when it is closed
        lives = _is_locked(file)
        file.seek(0)
        owner = _parsed(file.read())
        if owner and not lives and owner.get("boot") != _boot():
            lives = _beats(path)
        if lives:
            raise _in_use(directory, owner.get("process"), owner.get("host"))
        _write(file, json.dumps({"process": os.getpid(), "host": socket.gethostname(), "boot": _boot()}))
        _owned.add(path)
        try:
            with heartbeat(path):
                yield
        finally:
            _owned.remove(path)
            _write(file, "")


def _in_use(directory: Path, process: int | None, host: str | None) -> RuntimeError:
    return RuntimeError(
        f"{directory} is in use by another run, process {process} on host {host}. Give `Checkpoint` another directory, "
        "or end that run first."
    )


def _is_locked(file: IO[bytes]) -> bool:
    """Lock a file, and return whether another process has already done so."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EAGAIN)  # other errors: the file system has no locks
    return False


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        owner = json.loads(content or b"{}")
    except ValueError:  # its writer was killed, or the file was damaged
        return {}
    return owner if isinstance(owner, dict) else {}


def _write(file: IO[bytes], text: str) -> None:
    with contextlib.suppress(OSError):  # a full disk does not end training
        file.seek(0)
        file.truncate()
        file.write(text.encode())


def _beats(path: Path) -> bool:
    """Watch a lock file until its heartbeat is seen, or seen to have stopped."""
    first = os.stat(path).st_mtime_ns
    while not heartbeat_stopped(path, _STOPPED_SECONDS):
        if os.stat(path).st_mtime_ns != first:
            return True
        time.sleep(0.5)
    return False


def _boot() -> str:
    """Identify this start of this machine, which containers share; "" where it is unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        return ""
