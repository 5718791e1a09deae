"""The example requests in an export's README, run unchanged except for the address of the server."""

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
from serving_models import ALL_OUTPUTS, answers, assert_same

EXPORTS = {"words": [b""], "bytes_export": [b"\xff\xfe good"], "vectors": None}


@pytest.fixture(params=EXPORTS)
def example(request):
    """An export, and the model's answer to its example request."""
    exported = request.getfixturevalue(request.param)
    if exported.preprocessor is not None:
        return exported, answers(exported.model, exported.preprocessor, EXPORTS[request.param])
    example_request = json.loads((exported.path / "example_request.json").read_text())
    outputs = exported.model(np.array([row["x"] for row in example_request["instances"]], "float32"))
    answers_by_task = exported.model.decode(outputs)
    return exported, {
        f"{task}_{key}": value for task, answer in answers_by_task.items() for key, value in answer.items()
    }


def readme(exported, port, address):
    text = (exported.path / "README.md").read_text()
    assert text.count(address) == 1
    return text.replace(address, f"127.0.0.1:{port}")


def assert_answer(actual, expected):
    assert set(actual) == ALL_OUTPUTS
    for name, value in actual.items():
        assert_same(value, expected[name])


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_curl_command_gets_the_models_answer(server, example):
    exported, expected = example
    (command,) = re.findall(r"^    (curl .*)$", readme(exported, server.rest, "localhost:8501"), re.MULTILINE)
    process = subprocess.run(["bash", "-c", command], cwd=exported.path, capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr
    assert_answer(columns(json.loads(process.stdout)["predictions"]), expected)


def test_the_python_program_prints_the_models_answer(server, example, monkeypatch):
    exported, expected = example
    (program,) = re.findall(r"```python\n(.*?)```", readme(exported, server.grpc, "localhost:8500"), re.DOTALL)
    monkeypatch.chdir(exported.path)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(program, "README.md", "exec"), {})
    lines = [line.split(" ", 1) for line in output.getvalue().splitlines()]
    assert_answer({name: np.array(ast.literal_eval(value)) for name, value in lines}, expected)
