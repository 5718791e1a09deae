"""Time of a step and bytes summed over replicas, against plain `keras.Model.fit` with as many replicas.

    python benchmarks/scaling.py                      # 1, 2 and 4 logical CPU devices; three minutes on 2 cores
    python benchmarks/scaling.py --replicas 1 2 --gpu # the GPU, split

Each number of replicas has a process of its own, in which all ways take one step in turn; a ratio is the median, over
turns, of a step's time and that of plain Keras in the same turn. Logical devices share the machine's cores, so times
do not fall with the replicas: the ratios show what a way costs on top. Bytes are those that one replica hands to
`all_reduce` in a step, found by tracing it; `time_on` is a model, with its assumptions beside it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import tf_mtl as mtl

TASKS = 4
WAYS = {  # balancing and gradients; None for plain Keras
    "plain Keras": None,
    "equal": ("equal", "parameters"),
    "upgrad, parameters": ("upgrad", "parameters"),
    "upgrad, features": ("upgrad", "features"),
}


def main() -> None:
    args = parse()
    if args.worker:
        print(json.dumps(measure(args.worker, args)))
        return
    rows = []
    for replicas in args.replicas:
        command = [sys.executable, __file__, "--worker", str(replicas), "--steps", str(args.steps)]
        done = subprocess.run([*command, *(["--gpu"] if args.gpu else [])], check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        rows += [[replicas, way, *(row[key] for key in ("ms", "ratio", "calls", "kib"))] for way, row in found.items()]
    print(mtl.report.table(["replicas", "way", "ms", "ratio", "calls", "KiB per step"], rows, digits=2))
    print(f"\nModelled ms per step, of a model with {args.parameters:.0f} million shared parameters and {TASKS} tasks:")
    print(
        f"plain step {args.compute:.0f} ms (a third of it forward), {args.bandwidth:.0f} GB/s and {args.latency:.0f} us"
    )
    print("per hop of a ring, float32, no overlap of sums with the backward passes.\n")
    table = [[way, *(time_on(gpus, way, args) for gpus in (1, 8, 64, 512))] for way in WAYS if way != "plain Keras"]
    print(mtl.report.table(["way", "1 GPU", "8", "64", "512"], table, digits=0))


def time_on(gpus: int, way: str, args: argparse.Namespace) -> float:
    """Return the modelled milliseconds of a step.

    Computing takes 1 F + T B with the gradients of parameters, and 1 F + 1 B otherwise. A ring sums n bytes over N
    GPUs in 2 (N - 1) / N n / bandwidth + 2 (N - 1) latency. Each step sums the gradients, T P or P numbers, and three
    small tensors, which cost their latency alone; the Gramian of the features is one more.
    """
    forward, backward = args.compute / 3, 2 * args.compute / 3
    per_task = way == "upgrad, parameters"
    numbers = args.parameters * 1e6 * (TASKS if per_task else 1)
    calls = 5 if way == "upgrad, features" else 4
    transfer = (
        2 * (gpus - 1) / gpus * 4 * numbers / (args.bandwidth * 1e9) + calls * 2 * (gpus - 1) * args.latency / 1e6
    )
    return forward + backward * (TASKS if per_task else 1) + 1000 * transfer


def measure(replicas: int, args: argparse.Namespace) -> dict:
    """Return for each way milliseconds, the ratio to plain Keras, and calls and KiB summed per step."""
    strategy = devices(replicas, args.gpu)
    steps, found = {}, {}
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 64)).astype("float32")
    y = {f"t{i}": rng.normal(size=256).astype("float32") for i in range(TASKS)}
    data = tf.data.Dataset.from_tensors((x, y)).repeat()
    for way, options in WAYS.items():
        with strategy.scope():
            model = build(keras.Model if options is None else mtl.MultiTaskModel)
            chosen = {} if options is None else dict(zip(("balancing", "gradients"), options, strict=True))
            model.compile("adam", loss=dict.fromkeys(y, "mse"), jit_compile=False, **chosen)
        sizes = counted(lambda model=model: model.fit(data, steps_per_epoch=2, verbose=0))
        found[way] = {"calls": len(sizes) / replicas, "kib": 4 * sum(sizes) / replicas / 1024}
        steps[way] = model
    seconds = {way: [] for way in WAYS}
    for _ in range(7):
        for way, model in steps.items():
            clock = Clock()
            model.fit(data, steps_per_epoch=args.steps, verbose=0, callbacks=[clock])
            seconds[way].append(statistics.median(clock.seconds[1:]))
    for way, times in seconds.items():
        ratios = [one / plain for one, plain in zip(times, seconds["plain Keras"], strict=True)]
        found[way] |= {"ms": 1000 * statistics.median(times), "ratio": statistics.median(ratios)}
    return found


class Clock(keras.callbacks.Callback):
    """Seconds of each step."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_train_batch_begin(self, batch, logs=None):
        self.started = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.seconds.append(time.perf_counter() - self.started)


def counted(run) -> list[int]:
    """Return the sizes of what all replicas hand to `all_reduce` while a step is traced."""
    real, sizes = tf.distribute.ReplicaContext.all_reduce, []

    def count(context, operation, value, *others):
        sizes.append(sum(tensor.shape.num_elements() for tensor in tf.nest.flatten(value)))
        return real(context, operation, value, *others)

    tf.distribute.ReplicaContext.all_reduce = count
    try:
        run()
    finally:
        tf.distribute.ReplicaContext.all_reduce = real
    return sizes


def devices(replicas: int, gpu: bool) -> tf.distribute.Strategy:
    """Return a strategy over parts of the CPU or of the first GPU."""
    if not gpu:
        return mtl.distribute.strategy("mirrored", virtual_devices=replicas)
    (first, *_) = tf.config.list_physical_devices("GPU")
    parts = [tf.config.LogicalDeviceConfiguration(memory_limit=4096)] * replicas
    tf.config.set_logical_device_configuration(first, parts)
    # NCCL takes no two replicas on one GPU
    sums = tf.distribute.HierarchicalCopyAllReduce()
    return tf.distribute.MirroredStrategy([f"GPU:{i}" for i in range(replicas)], cross_device_ops=sums)


def build(kind: type[keras.Model]) -> keras.Model:
    """Return a model of three shared layers, 640 thousand parameters, and a head per task."""
    keras.utils.set_random_seed(0)
    x = h = keras.Input((64,))
    for _ in range(3):
        h = keras.layers.Dense(512, activation="relu")(h)
    return kind(x, {f"t{i}": keras.layers.Dense(1, name=f"t{i}")(h) for i in range(TASKS)})


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=10, help="per turn")
    parser.add_argument("--gpu", action="store_true", help="split the first GPU instead of the CPU")
    parser.add_argument("--parameters", type=float, default=110, help="of the model: millions")
    parser.add_argument("--compute", type=float, default=100, help="of the model: ms of a plain step on one GPU")
    parser.add_argument("--bandwidth", type=float, default=25, help="of the model: GB/s of the slowest link")
    parser.add_argument("--latency", type=float, default=5, help="of the model: us per hop")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
