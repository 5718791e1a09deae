"""Milliseconds of the CRF's loss, Viterbi decoding and marginals: by loops over time and by trees of logarithmic depth.

    python benchmarks/crf.py                              # on each kind of device, with and without XLA
    python benchmarks/crf.py --shapes 32,64,9 --rounds 5  # batch size, length, tags

Each way has a process of its own per round, and the ways take turns; a figure is the median over rounds of the median
over calls. The loss includes its gradients. `CRF` uses trees on GPUs and loops on CPUs; here each runs on both.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.layers import _crf

CALLS = ("loss", "viterbi", "marginals")


def functions(batch_size: int, length: int, tags: int, compiled: bool) -> list:
    """Return a function for each call, without arguments."""
    rng = np.random.default_rng(0)
    layer = mtl.layers.CRF()
    layer.build((None, length, tags))
    for variable in layer.weights:
        variable.assign(rng.normal(size=variable.shape))
    emissions = tf.constant(rng.normal(size=(batch_size, length, tags)), tf.float32)
    labels = tf.constant(rng.integers(0, tags, (batch_size, length)), tf.int32)
    mask = tf.range(length) < tf.constant(rng.integers(1, length + 1, (batch_size, 1)), tf.int32)

    def loss(emissions):
        with tf.GradientTape() as tape:
            tape.watch(emissions)
            value = layer.negative_log_likelihood(layer(emissions), labels, tf.cast(mask, tf.float32))
        return value, tape.gradient(value, [emissions, *(variable.value for variable in layer.weights)])

    def viterbi(emissions):
        return layer.viterbi(layer(emissions), mask)

    def marginals(emissions):
        return layer.marginals(layer(emissions), mask)

    spec = [tf.TensorSpec([batch_size, None, tags])]  # as in training on sentences: the length is unknown
    traced = (tf.function(call, input_signature=spec, jit_compile=compiled) for call in (loss, viterbi, marginals))
    return [lambda call=call: call(emissions) for call in traced]


def milliseconds(call, seconds=1.0) -> float:
    """Return the median over calls."""
    times = []
    call()
    while sum(times) < seconds or len(times) < 3:
        started = time.perf_counter()
        for tensor in tf.nest.flatten(call()):
            tensor.numpy()  # waits for the device
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def work(form: str, compiled: str, device: str, shapes: list[str]) -> None:
    """Print the milliseconds of each call at each shape."""
    _crf._by_device = lambda loop, tree, scores, mask: {"loop": loop, "tree": tree}[form](*scores, mask)
    with tf.device(device):
        for shape in shapes:
            calls = functions(*map(int, shape.split(",")), compiled == "XLA")
            print(json.dumps([milliseconds(call) for call in calls]), flush=True)


def main():
    if sys.argv[1:2] == ["--worker"]:
        return work(*sys.argv[2:5], sys.argv[5:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["32,64,9", "32,256,17", "32,256,41"])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    devices = sorted({device.device_type for device in tf.config.list_physical_devices()})
    ways = list(itertools.product(devices, ("", "XLA"), ("loop", "tree")))
    taken = {way: [] for way in ways}
    for _, (device, compiled, form) in itertools.product(range(args.rounds), ways):
        command = [sys.executable, __file__, "--worker", form, compiled, f"{device}:0", *args.shapes]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        taken[device, compiled, form].append([json.loads(line) for line in done.stdout.splitlines()])
    rows = []
    for (number, shape), way in itertools.product(enumerate(args.shapes), ways):
        by_call = zip(*(shapes[number] for shapes in taken[way]), strict=True)
        rows.append([shape, *way, *map(statistics.median, by_call)])
    print(mtl.report.table(["batch, length, tags", "device", "", "form", *(f"{call}, ms" for call in CALLS)], rows))


if __name__ == "__main__":
    main()
