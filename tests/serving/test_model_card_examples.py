"""The example requests in an export's README, run unchanged except for the server's address."""

import ast
import contextlib
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from serving_client import columns
from serving_models import ALL, answers, assert_same

EXPORTS = {"words": [b""], "bytes_export": [b"\xff\xfe good"], "vectors": None}


@pytest.fixture(params=EXPORTS)
def example(request):
    """An export, and the model's answer to its example request."""
    exported = request.getfixturevalue(request.param)
    if exported.preprocessor is not None:
        return exported, answers(exported.model, exported.preprocessor, EXPORTS[request.param])
    sent = json.loads((exported.path / "example_request.json").read_text())
    outputs = exported.model(np.array([row["x"] for row in sent["instances"]], "float32"))
    parts = exported.model.decode(outputs)
    return exported, {f"{task}_{key}": value for task, found in parts.items() for key, value in found.items()}


def page(exported, port, address):
    text = (exported.path / "README.md").read_text()
    assert text.count(address) == 1
    return text.replace(address, f"127.0.0.1:{port}")


def assert_answer(found, expected):
    assert set(found) == ALL
    for name, value in found.items():
        assert_same(value, expected[name])


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_curl_command_gets_the_models_answer(server, example):
    exported, expected = example
    (command,) = re.findall(r"^    (curl .*)$", page(exported, server.rest, "localhost:8501"), re.MULTILINE)
    done = subprocess.run(["bash", "-c", command], cwd=exported.path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert_answer(columns(json.loads(done.stdout)["predictions"]), expected)


def test_the_python_program_prints_the_models_answer(server, example, monkeypatch):
    exported, expected = example
    (program,) = re.findall(r"```python\n(.*?)```", page(exported, server.grpc, "localhost:8500"), re.DOTALL)
    monkeypatch.chdir(exported.path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "README.md", "exec"), {})
    lines = [line.split(" ", 1) for line in printed.getvalue().splitlines()]
    assert_answer({name: np.array(ast.literal_eval(value)) for name, value in lines}, expected)
