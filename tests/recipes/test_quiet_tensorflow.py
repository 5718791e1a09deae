"""The messages of a recipe's process while it imports TensorFlow."""

import logging
import os
import subprocess
import sys

import quiet_tensorflow
from conftest import RECIPES

SCRIPT = """
import os, sys, types, warnings

class Loader:
    def find_spec(name, path=None, target=None):
        if name == "tensorflow":
            os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n")
            os.write(2, b"I0000 00:00:1.0 1 port.cc:153] a start-up message\\n")
            os.write(2, b"something serious\\n")
            warnings.warn("a warning of Python")
sys.meta_path.insert(0, Loader)

import quiet_tensorflow
import tensorflow as tf
tf.constant(1)
os.write(2, b"I0000 00:00:1.0 1 later\\n")
"""


def stderr(level):
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    environment |= {"PYTHONPATH": str(RECIPES), **level}
    process = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment)
    assert process.returncode == 0, process.stderr
    return process.stderr


def test_only_start_up_messages_are_dropped():
    lines = stderr({}).splitlines()
    assert lines[0] == "something serious"
    assert "UserWarning: a warning of Python" in lines[1]
    assert lines[-1] == "I0000 00:00:1.0 1 later"
    assert not [line for line in lines[:-1] if line.startswith(("I0000", "W0000", "E0000", "WARNING"))]


def test_a_log_level_set_by_the_user_shows_every_message():
    assert "port.cc:153] a start-up message" in stderr({"TF_CPP_MIN_LOG_LEVEL": "0"})


def test_only_warnings_about_retracing_are_dropped():
    def record(message):
        return logging.LogRecord("tensorflow", logging.WARNING, "", 0, message, ("f",), None)

    assert quiet_tensorflow.is_not_about_retracing(record("%s is deprecated"))
    assert not quiet_tensorflow.is_not_about_retracing(record("5 calls to %s triggered tf.function retracing"))
