"""Two logical CPU devices for every test, and the same seed."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import pytest
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


@pytest.fixture(autouse=True, scope="module")
def _clear():
    keras.utils.clear_session()  # collects garbage, which takes a second once there is much


@pytest.fixture(autouse=True)
def _seed(_clear):
    keras.utils.set_random_seed(7)
