"""Rows per second that the workers of a cluster read: whole batches on each worker against parts (`data.sharded`).

    python benchmarks/reading.py  # 1, 2 and 3 workers; three minutes on 2 cores

Each worker is a process that reads records of PNG images and decodes them, without training on them. All start at one
time, and a pass has ended when the slowest worker has its rows. The two ways take turns; with one worker they are the
same, so its ratio shows the noise. Two sources:

- "decoding": as fast as the cores allow. All workers share the cores of this machine, so whole batches cost each core
  as many times the work as there are workers, and parts are as fast as one worker at best.
- "slow link": each worker waits 1 ms per record, one record at a time, as if it read over a link of its own. Waiting
  does not occupy a core, so this shows what a cluster gains whose workers wait for their storage.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf

import tf_mtl as mtl

SHARDS, BATCH_SIZE, STEPS, SIDE = 6, 96, 24, 96
LINK = threading.Lock()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--read", nargs=3, metavar=("FOLDER", "SOURCE", "WORKER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        folder, source, worker = args.read
        read(Path(folder), source, int(worker), args.workers[0], args.rounds)
        return
    with tempfile.TemporaryDirectory() as folder:
        size = write_records(Path(folder))
        print(f"{size:.0f} bytes per record, {BATCH_SIZE} rows per step\n")
        rows = [
            [source, workers, *compare(folder, source, workers, args.rounds)]
            for source in ("decoding", "slow link")
            for workers in args.workers
        ]
    print(mtl.report.table(["source", "workers", "whole batches", "parts", "ratio"], rows, digits=2))


def compare(folder: str, source: str, workers: int, rounds: int) -> tuple[float, float, float]:
    """Return medians over rounds: the global rows per second of whole batches and of parts, and their ratio."""
    command = [sys.executable, __file__, "--workers", str(workers), "--rounds", str(rounds), "--read", folder, source]
    processes = [
        subprocess.Popen([*command, str(worker)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for worker in range(workers)
    ]
    seconds = [pass_seconds(processes) for _ in range(2 * rounds)]
    for process in processes:
        process.communicate()
    whole, parts = seconds[::2], seconds[1::2]
    rates = [STEPS * BATCH_SIZE / statistics.median(way) for way in (whole, parts)]
    return *rates, statistics.median(a / b for a, b in zip(whole, parts, strict=True))


def pass_seconds(processes: list) -> float:
    """Let all workers read one pass, and return the time of the slowest."""
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("start\n")
        process.stdin.flush()
    return max(float(process.stdout.readline()) for process in processes)


def read(folder: Path, source: str, worker: int, workers: int, rounds: int) -> None:
    """Read as one of several workers: whole batches and parts in turn, each pass when all workers are ready."""
    batches = mtl.data.sharded(lambda index: shard(folder, index, source), SHARDS, BATCH_SIZE)
    ways = [data.prefetch(tf.data.AUTOTUNE) for data in (batches, batches.of_worker(worker, workers))]
    for data in ways:  # starts TensorFlow
        for _ in data.take(1):
            pass
    for data in ways * rounds:
        print("ready", flush=True)
        sys.stdin.readline()
        start = time.perf_counter()
        for _ in data:
            pass
        print(time.perf_counter() - start, flush=True)


def shard(folder: Path, index: int, source: str) -> tf.data.Dataset:
    """Return the decoded rows of one file."""
    records = tf.data.TFRecordDataset(str(folder / f"{index}.tfrecord"))
    if source == "slow link":
        records = records.map(lambda record: tf.ensure_shape(tf.numpy_function(wait, [record], tf.string), []))
    return records.map(decode).apply(tf.data.experimental.assert_cardinality(STEPS * BATCH_SIZE // SHARDS))


def wait(record: bytes) -> bytes:
    with LINK:
        time.sleep(0.001)
    return record


def decode(record: tf.Tensor) -> tuple:
    features = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
    row = tf.io.parse_single_example(record, features)
    image = tf.ensure_shape(tf.io.decode_png(row["image"]), [SIDE, SIDE, 3])
    return tf.image.convert_image_dtype(image, tf.float32), {"topic": row["label"]}


def write_records(folder: Path) -> float:
    """Write one file per shard, and return the mean size of a record."""
    rng, sizes = np.random.default_rng(0), []
    for index in range(SHARDS):
        with tf.io.TFRecordWriter(str(folder / f"{index}.tfrecord")) as writer:
            for _ in range(STEPS * BATCH_SIZE // SHARDS):
                smooth = rng.integers(0, 256, (SIDE // 8, SIDE // 8, 3)).repeat(8, 0).repeat(8, 1)
                image = np.clip(smooth + rng.integers(-8, 8, smooth.shape), 0, 255).astype("uint8")
                png = tf.io.encode_png(image).numpy()
                feature = {
                    "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[png])),
                    "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[index])),
                }
                record = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
                sizes.append(len(record))
                writer.write(record)
    return statistics.mean(sizes)


if __name__ == "__main__":
    main()
