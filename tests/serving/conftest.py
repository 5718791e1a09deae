"""Exports, and a server that loads three of them, shared by all tests in this folder."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import serving_models

import tf_mtl as mtl


def export(folder, model_and_preprocessor, **options):
    model, preprocessor = model_and_preprocessor
    path = mtl.export.saved_model(model, folder, preprocessor=preprocessor, check=False, **options)
    return SimpleNamespace(model=model, preprocessor=preprocessor, path=path)


@pytest.fixture(scope="session")
def words(tmp_path_factory):
    return export(tmp_path_factory.mktemp("exports") / "words", serving_models.words())


@pytest.fixture(scope="session")
def pieces(tmp_path_factory):
    return export(tmp_path_factory.mktemp("exports") / "pieces", serving_models.pieces())


@pytest.fixture(scope="session")
def vectors(tmp_path_factory):
    return export(tmp_path_factory.mktemp("exports") / "vectors", serving_models.vectors())


@pytest.fixture(scope="session")
def bytes_export(tmp_path_factory):
    """An export whose example request contains bytes that are not text."""
    folder = tmp_path_factory.mktemp("exports") / "bytes"
    return export(folder, serving_models.words(), version=3, warmup=[b"\xff\xfe good"])


@pytest.fixture(scope="session")
def server(words, vectors, bytes_export):
    """A running server: its process, and its ports `grpc` and `rest`."""
    script = Path(__file__).with_name("session_server.py")
    folders = [str(exported.path.parent) for exported in (words, vectors, bytes_export)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, str(script), *folders]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            ports = json.loads(process.stdout.readline())
            yield SimpleNamespace(process=process, **ports)
        finally:
            process.kill()
