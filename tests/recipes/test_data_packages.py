import hashlib

import fetch
import pytest


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "tf_mtl"


def test_a_cached_file_is_not_downloaded_again(cache, monkeypatch):
    monkeypatch.setattr(fetch.subprocess, "run", None)
    cache.mkdir()
    (cache / "data.zip").write_bytes(b"data")
    assert fetch.package("p==1", "data.zip", hashlib.sha256(b"data").hexdigest()) == cache / "data.zip"


def test_a_wrong_hash_is_refused(cache):
    cache.mkdir()
    (cache / "data.zip").write_bytes(b"changed")
    with pytest.raises(RuntimeError, match=r"data.zip has the hash .*, expected 00. Delete it"):
        fetch.package("p==1", "data.zip", "00")


def test_a_failed_download_says_what_to_do(cache, monkeypatch):
    class Done:
        stderr = "no such package"

    monkeypatch.setattr(fetch.subprocess, "run", lambda *args, **kwargs: Done)
    with pytest.raises(RuntimeError, match="(?s)p==1.*no such package.*--data FOLDER"):
        fetch.package("p==1", "data.zip", "00")
    assert list(cache.iterdir()) == []
