"""A C++ program with the loader and session of TensorFlow Serving gives the model's answers."""

import os
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from serving_models import TEXT_SIGNATURES, answers, assert_same

COMPILER = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
TEXTS = ["good ship", "", "très bien, 好船 🚢", "very bad, late", "not good " * 11_000]

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler: c++, g++ or clang++")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    binary, folder = tmp_path_factory.mktemp("cpp") / "ask", tf.sysconfig.get_lib()
    source = Path(__file__).with_name("ask.cc")
    libraries = ["-Wl,--no-as-needed", "-l:libtensorflow_cc.so.2", *tf.sysconfig.get_link_flags()]
    flags = ["-w", *tf.sysconfig.get_compile_flags(), *libraries, f"-Wl,-rpath,{folder}"]
    subprocess.run([COMPILER, str(source), "-o", str(binary), *flags], check=True)
    return binary


@pytest.fixture(scope="module")
def printed(program, words):
    """The program's output, `{signature: {output: rows}}`."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [str(program), str(words.path), *TEXTS]
    process = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert process.returncode == 0, process.stderr
    values_by_signature = defaultdict(lambda: defaultdict(dict))
    for line in process.stdout.splitlines():
        signature, output, row, *values = line.split("\t")
        values_by_signature[signature][output][int(row)] = values
    return {
        signature: {name: [rows[i] for i in range(len(rows))] for name, rows in outputs.items()}
        for signature, outputs in values_by_signature.items()
    }


def test_every_text_signature_returns_its_outputs(printed):
    assert {signature: set(outputs) for signature, outputs in printed.items()} == TEXT_SIGNATURES


def test_answers_equal_the_models(printed, words):
    expected = answers(words.model, words.preprocessor, TEXTS)
    for outputs in printed.values():
        for name, rows in outputs.items():
            values = np.array(rows) if expected[name].dtype.kind in "OU" else np.array(rows, "float32")
            assert_same(values.reshape(expected[name].shape), expected[name])


def test_the_program_does_not_link_python(program):
    linked = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
    assert "libtensorflow_cc" in linked
    assert "libpython" not in linked
    assert "not found" not in linked


def test_a_folder_without_a_model_is_an_error(program, tmp_path):
    process = subprocess.run([str(program), str(tmp_path), "good"], capture_output=True, text=True)
    assert process.returncode == 1
    assert "SavedModel" in process.stderr
