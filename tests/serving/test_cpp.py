"""A program without Python, with the loader and session of TensorFlow Serving, gives the model's answers."""

import os
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from serving_models import FROM_TEXT, answers, assert_same

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
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = defaultdict(lambda: defaultdict(dict))
    for line in done.stdout.splitlines():
        signature, output, row, *values = line.split("\t")
        found[signature][output][int(row)] = values
    return {
        signature: {name: [rows[i] for i in range(len(rows))] for name, rows in outputs.items()}
        for signature, outputs in found.items()
    }


def test_every_signature_for_texts_answers_with_its_outputs(printed):
    assert {signature: set(outputs) for signature, outputs in printed.items()} == FROM_TEXT


def test_answers_are_the_models(printed, words):
    expected = answers(words.model, words.preprocessor, TEXTS)
    for outputs in printed.values():
        for name, rows in outputs.items():
            values = np.array(rows) if expected[name].dtype.kind in "OU" else np.array(rows, "float32")
            assert_same(values.reshape(expected[name].shape), expected[name])


def test_the_program_is_without_python(program):
    linked = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
    assert "libtensorflow_cc" in linked
    assert "libpython" not in linked
    assert "not found" not in linked


def test_the_program_says_why_a_folder_is_no_model(program, tmp_path):
    done = subprocess.run([str(program), str(tmp_path), "good"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "SavedModel" in done.stderr
