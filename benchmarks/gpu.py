"""Milliseconds of a `fit` step on one GPU beside plain Keras: a wide input, two replicas, and ten tasks' solvers.

    python benchmarks/gpu.py wide       # 2 tasks, batches of 1024 x 4096: are they copied ahead?
    python benchmarks/gpu.py replicas   # 4 tasks on a Transformer, on two logical devices of one GPU
    python benchmarks/gpu.py solvers    # 10 tasks on an MLP, with and without XLA

The ways run one after another in one process; a figure is the mean over the last 100 of 110 steps of a
second `fit`. Without a GPU the script runs on the CPU, to try it.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import tf_mtl as mtl

STEPS, SKIPPED = 110, 10
DEVICE = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"


class Clock(keras.callbacks.Callback):
    """Measures the steps after the first ones, up to the moment when the last one's loss has been computed."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def on_train_batch_end(self, batch, logs=None):
        self.logs = logs
        self.count += 1
        if self.count == SKIPPED:
            self._wait()
            self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self._wait()
        self.milliseconds = 1000 * (time.perf_counter() - self.started) / (self.count - SKIPPED)

    def _wait(self):
        float(np.asarray(self.logs["loss"]))


def timed(name: str, model: keras.Model, data: tf.data.Dataset) -> None:
    """Print the milliseconds of a step, and the seconds of the first call."""
    started = time.perf_counter()
    model.fit(data.take(STEPS), verbose=0, shuffle=False)
    first, clock = time.perf_counter() - started, Clock()
    model.fit(data.take(STEPS), verbose=0, shuffle=False, callbacks=[clock])
    print(f"{name:34} {clock.milliseconds:8.2f} ms   first call {first:5.1f} s", flush=True)


def numbers(tasks: int, batch_size: int, width: int) -> tf.data.Dataset:
    """Return an endless data set of random numbers, which stay in the host's memory."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4 * batch_size, width)).astype("float32")
    y = {f"t{i}": rng.normal(size=len(x)).astype("float32") for i in range(tasks)}
    return batched(x, y, batch_size)


def batched(x, y, batch_size: int) -> tf.data.Dataset:
    """Return an endless data set of batches in the host's memory."""
    with tf.device("/CPU:0"):
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size, drop_remainder=True)
        return data.cache().repeat().prefetch(2)


def mlp(model_class: type, tasks: int, width: int) -> keras.Model:
    """Return an MLP with a head of one unit per task."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((width,))
    hidden = inputs
    for _ in range(2):
        hidden = keras.layers.Dense(256, activation="relu")(hidden)
    return model_class(inputs, {f"t{i}": keras.layers.Dense(1, name=f"t{i}")(hidden) for i in range(tasks)})


def wide() -> None:
    """A wide input, whose copy to the GPU takes longer than the step."""
    data = numbers(2, 1024, 4096)
    for name, model_class in (("plain", keras.Model), ("equal", mtl.MultiTaskModel)) * 2:
        model = mlp(model_class, 2, 4096)
        model.compile("sgd", {"t0": "mse", "t1": "mse"})
        timed(name, model, data)


def solvers() -> None:
    """Methods whose weights a solver finds."""
    data, losses = numbers(10, 128, 64), {f"t{i}": "mse" for i in range(10)}
    for jit in (False, "auto"):
        plain = mlp(keras.Model, 10, 64)
        plain.compile("adam", losses, jit_compile=jit)
        timed(f"plain, jit_compile={jit}", plain, data)
        for method in ("equal", "upgrad", "mgda", "nash_mtl", "cagrad"):
            options = {} if method == "equal" else {"gradients": "features"}
            model = mlp(mtl.MultiTaskModel, 10, 64)
            model.compile("adam", losses, balancing=method, jit_compile=jit, **options)
            timed(f"{method}, jit_compile={jit}", model, data)


def transformer(model_class: type) -> keras.Model:
    """Return a Transformer of 2 layers x 128 with two classifiers and two regressions."""
    keras.utils.set_random_seed(0)
    ids = keras.Input((48,), dtype="int32")
    encoder = mtl.encoders.TransformerEncoder(12_000, 48, layers=2, feedforward_dim=256, dropout=0.0)
    features = encoder(ids)["pooled"]
    units = {"a": 4, "b": 3, "c": 1, "d": 1}
    return model_class(ids, {task: keras.layers.Dense(n, name=task)(features) for task, n in units.items()})


def replicas() -> None:
    """Two logical devices of one GPU, where Keras cannot compile the step with XLA."""
    memory = {"memory_limit": 8192} if DEVICE == "GPU" else {}
    physical = tf.config.list_physical_devices(DEVICE)[0]
    tf.config.set_logical_device_configuration(physical, [tf.config.LogicalDeviceConfiguration(**memory)] * 2)
    copies = tf.distribute.HierarchicalCopyAllReduce() if DEVICE == "GPU" else tf.distribute.ReductionToOneDevice()
    strategy = tf.distribute.MirroredStrategy([f"{DEVICE}:0", f"{DEVICE}:1"], cross_device_ops=copies)
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 12_000, (512, 48)).astype("int32")
    y = {"a": rng.integers(0, 4, 512), "b": rng.integers(0, 3, 512)}
    y |= {task: rng.normal(size=512).astype("float32") for task in "cd"}
    data = batched(tokens, y, 64)
    classes = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    losses = {"a": classes, "b": classes, "c": "mse", "d": "mse"}
    ways = {"equal": {}, **{f"upgrad by {way}": {"gradients": way} for way in ("features", "parameters")}}
    with strategy.scope():
        plain = transformer(keras.Model)
        plain.compile(keras.optimizers.SGD(0.003), losses, jit_compile=False)
    timed("plain", plain, data)
    for name, options in ways.items():
        for jit in (False, "auto"):
            with strategy.scope():
                model = transformer(mtl.MultiTaskModel)
                balancing = name.split()[0]
                model.compile(keras.optimizers.SGD(0.003), losses, balancing=balancing, jit_compile=jit, **options)
            timed(f"{name}, jit_compile={jit}", model, data)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sections = {section.__name__: section for section in (wide, replicas, solvers)}
    parser.add_argument("section", choices=sections)
    sections[parser.parse_args().section]()


if __name__ == "__main__":
    main()
