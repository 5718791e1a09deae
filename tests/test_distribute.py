import json
import os
import subprocess
import sys

import tensorflow as tf

import tf_mtl as mtl

SCRIPT = """
import sys
import tf_mtl as mtl
strategy = mtl.distribute.strategy(sys.argv[1], virtual_devices=3)
print(mtl.distribute.describe(strategy))
"""


def test_auto_takes_all_devices():
    strategy = mtl.distribute.strategy("auto")
    assert isinstance(strategy, tf.distribute.MirroredStrategy)
    assert mtl.distribute.describe(strategy) == "one machine: MirroredStrategy, 2 replicas, of CPU:0, CPU:1"
    assert mtl.distribute.strategy("mirrored") is strategy


def test_one_device_is_the_default_strategy():
    strategy = mtl.distribute.strategy("one_device")
    assert strategy is tf.distribute.get_strategy()


def run(name, **environment):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    process = subprocess.run([sys.executable, "-c", SCRIPT, name], capture_output=True, text=True, env=environment)
    return process.stdout.strip(), process.stderr


def test_virtual_devices_in_a_new_process():
    assert run("auto")[0] == "one machine: MirroredStrategy, 3 replicas, of CPU:0, CPU:1, CPU:2"


def test_tf_config_selects_many_machines():
    cluster = {"cluster": {"worker": ["localhost:0"]}, "task": {"type": "worker", "index": 0}}
    printed, errors = run("auto", TF_CONFIG=json.dumps(cluster))
    assert printed == "many machines: CollectiveAllReduceStrategy, 1 replica, as TF_CONFIG names workers: 1", errors
