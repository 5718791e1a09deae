"""Two logical CPU devices for every test, the same seed, and one process for all checks of exports."""

import gc
import os
import subprocess

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # its start costs more than small models gain

import keras
import pytest
import tensorflow as tf
from check_server import CheckServer

from tf_mtl.export import _check

gc.collect()
gc.freeze()  # collections skip what was imported

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


@pytest.fixture(autouse=True, scope="module")
def _clear():
    keras.utils.clear_session()  # collects garbage, which takes about a second when many objects exist


@pytest.fixture(autouse=True)
def _seed(_clear):
    keras.utils.set_random_seed(7)


@pytest.fixture(autouse=True, scope="session")
def _export_checks():
    """Checks of exports run in forks of one process; see `fresh_process`."""
    server = CheckServer()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_check, "subprocess", server)
        yield
    server.close()


@pytest.fixture
def fresh_process(monkeypatch):
    """Checks of exports start a new process each, as outside the tests."""
    monkeypatch.setattr(_check, "subprocess", subprocess)
