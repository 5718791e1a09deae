"""A small training run, which prints its progress and writes its results.

Usage: train_model.py DIRECTORY OUT CONFIGURATION, where CONFIGURATION is JSON with the keys of `DEFAULTS`.
"""

import json
import os
import pickle
import signal
import sys
import time

import disk
import keras
import numpy as np
import tensorflow as tf

import tf_mtl as mtl

DEFAULTS = {
    # what decides the results
    "seed": 1,
    "data": "arrays",
    "rows": 48,
    "batch_size": 8,
    "epochs": 4,
    "steps_per_execution": 1,
    "replicas": 1,
    "optimizer": "adam",
    "learning_rate": 0.01,
    "tasks": "ab",
    "balancing": "equal",
    "dropout": 0.0,
    "callbacks": "",
    "non_finite": "keep",
    "huge_label": None,
    # what does not
    "on_change": "error",
    "every": "3 steps",
    "keep": 3,
    "pause": 0.04,
    "slow_writes": 0,
    "full": [],
    "space": 0,
    "largest_file": None,
    "ignores_interrupts": False,
}


class Progress(keras.callbacks.Callback):
    """Prints the number of steps taken, slows training down, and limits the size of files after the first step.

    Before that, TensorFlow writes the source of functions that it traces to temporary files.
    """

    def __init__(self, pause, largest_file):
        super().__init__()
        self.pause, self.largest_file = pause, largest_file

    def on_train_batch_end(self, batch, logs=None):
        disk.limit_files(self.largest_file)
        print(f"step {self.model._feed.training.steps}", flush=True)
        time.sleep(self.pause)


def dataset(config):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(200, 6)).astype("float32")
    y = {task: (x @ rng.normal(size=6)).astype("float32") for task in "abc"}
    weight = {task: (rng.random(len(x)) < 0.8).astype("float32") for task in "abc"}
    if config["huge_label"] is not None:
        y["a"][config["huge_label"]] = 1e30
        weight["a"][config["huge_label"]] = 1
    rows = slice(config["rows"])
    labels = {task: y[task][rows] for task in config["tasks"]}
    weights = {task: weight[task][rows] for task in config["tasks"]}
    return x[rows], labels, weights


def arguments(config):
    x, y, weight = dataset(config)
    if config["data"] == "arrays":
        return {"x": x, "y": y, "sample_weight": weight, "batch_size": config["batch_size"]}
    rows = tf.data.Dataset.from_tensor_slices((x, y, weight))
    return {"x": rows.shuffle(20, seed=5).batch(config["batch_size"])}


def callbacks(names):
    made = {
        "stop": lambda: keras.callbacks.EarlyStopping("loss", patience=2, min_delta=0.4, restore_best_weights=True),
        "plateau": lambda: keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=0.4),
        "nan": keras.callbacks.TerminateOnNaN,
    }
    return [made[name]() for name in names.split()]


def compiled(config):
    if config["replicas"] > 1:
        devices = [tf.config.LogicalDeviceConfiguration()] * config["replicas"]
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    keras.utils.set_random_seed(config["seed"])
    with mtl.distribute.strategy("mirrored" if config["replicas"] > 1 else "one_device").scope():
        model = mtl.build_model(
            keras.Input((6,)),
            mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8], dropout=config["dropout"])),
            [mtl.tasks.Regression(task) for task in config["tasks"]],
        )
        method = mtl.balancing.EMA(mtl.balancing.PCGrad(seed=1)) if config["balancing"] == "ema" else "equal"
        model.compile(
            keras.optimizers.get(
                {"class_name": config["optimizer"], "config": {"learning_rate": config["learning_rate"]}}
            ),
            balancing=method,
            steps_per_execution=config["steps_per_execution"],
            non_finite=config["non_finite"],
            jit_compile=False,
        )
    return model


def main(directory, out, configuration):
    config = DEFAULTS | json.loads(configuration)
    if config["ignores_interrupts"]:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    disk.disturb_checkpoints(config["slow_writes"], config["full"], config["space"])
    model = compiled(config)
    keys = ("every", "keep", "on_change")
    checkpoint = mtl.callbacks.Checkpoint(directory, **{key: config[key] for key in keys})
    every_callback = [*callbacks(config["callbacks"]), checkpoint, Progress(config["pause"], config["largest_file"])]
    print("built", flush=True)
    history = model.fit(**arguments(config), epochs=config["epochs"], verbose=0, callbacks=every_callback)
    disk.limit_files(None)
    variables = [*model.variables, *model.optimizer.variables, *model.balancing.variables]
    results = {
        "values": [v.numpy() for v in variables],
        "weights": model.get_weights(),
        "epochs": history.epoch,
        "history": history.history,
        "updates": int(model.optimizer.iterations.numpy()),
    }
    with open(out + ".part", "wb") as file:
        pickle.dump(results, file)
    os.replace(out + ".part", out)


if __name__ == "__main__":
    main(*sys.argv[1:])
