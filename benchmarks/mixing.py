"""Rows per second of `mtl.data.mix`, as ratios to `tf.data.Dataset.sample_from_datasets`, and the padding of batches.

    python benchmarks/mixing.py

Both ways read batches of the same four sources in turn, in one process; a ratio is the median over turns, above 1 where
`mix` is faster. Sources that lack tasks are compared with the same completion written by hand as a `map` over rows.
Then padding with and without groups of like length, and what reading a mixture of sentences takes beside training a
small bidirectional LSTM on it.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.data._batch_by_length import batch_by_length

TASKS = ("topic", "polarity", "intensity", "disagreement")
SIZES = (20_000, 10_000, 5_000, 1_000)
BOUNDARIES = [12, 18, 26, 40]


def sources(complete):
    """Rows of 48 token ids; with labels and weights for all tasks, or with labels for one task each."""
    rng = np.random.default_rng(0)
    found = {}
    for place, rows in enumerate(SIZES):
        tasks = TASKS if complete else TASKS[place : place + 1]
        y = {task: rng.normal(size=rows).astype("float32") for task in tasks}
        weight = {task: np.ones(rows, "float32") for task in tasks}
        data = (rng.integers(1, 12_000, (rows, 48)), y, *([weight] if complete else []))
        found[TASKS[place]] = tf.data.Dataset.from_tensor_slices(data)
    return found


def by_hand(source):
    """Fill in the labels and weights that rows lack."""

    def fill(x, y):
        full = {task: y.get(task, tf.zeros([])) for task in TASKS}
        return x, full, {task: tf.constant(float(task in y)) for task in TASKS}

    return source.map(fill, num_parallel_calls=tf.data.AUTOTUNE)


def sampled(found, complete, batch_size):
    """The same mixture in plain tf.data."""
    parts = [(part if complete else by_hand(part)).repeat() for part in found.values()]
    weights = [rows / sum(SIZES) for rows in SIZES]
    return tf.data.Dataset.sample_from_datasets(parts, weights, seed=0).batch(batch_size, drop_remainder=True)


def seconds(iterator, batches):
    started = time.perf_counter()
    for _ in range(batches):
        next(iterator)
    return time.perf_counter() - started


def speed(complete, args):
    """Rows per second of both ways, and the median ratio with its quartiles."""
    found = sources(complete)
    batches = args.rows // args.batch_size
    ways = [mtl.data.mix(found, batch_size=args.batch_size, seed=0), sampled(found, complete, args.batch_size)]
    iterators = [iter(way) for way in ways]
    for iterator in iterators:
        seconds(iterator, batches)
    turns = [[seconds(iterator, batches) for iterator in iterators] for _ in range(args.turns)]
    low, middle, high = statistics.quantiles([plain / mixed for mixed, plain in turns], n=4)
    return [batches * args.batch_size / statistics.median(way) for way in zip(*turns, strict=True)] + [
        middle,
        low,
        high,
    ]


def sentence_lengths(rows):
    """Lengths of sentences: log-normal, 18 words in the median, 120 at most."""
    return np.clip(np.random.default_rng(0).lognormal(np.log(18), 0.6, rows), 3, 120).astype("int32")


def padding(boundaries, batch_size):
    """The share of padded positions among sentences."""
    rows = tf.data.Dataset.from_tensor_slices(sentence_lengths(20_000)).map(lambda length: tf.ones([length]))
    positions = words = 0
    for batch in batch_by_length(rows, batch_size, boundaries):
        positions += int(tf.size(batch))
        words += float(tf.reduce_sum(batch))
    return 1 - words / positions


def annotated(rows, tasks):
    """Encoded sentences with labels for some tasks."""
    lengths, rng = sentence_lengths(rows), np.random.default_rng(1)
    words = tf.RaggedTensor.from_row_lengths(rng.integers(0, 8_000, lengths.sum()).astype(str), lengths)
    labels = {"tags": tf.RaggedTensor.from_row_lengths(rng.integers(0, 17, lengths.sum()).astype("int32"), lengths)}
    labels["topic"] = tf.constant(rng.integers(0, 4, rows).astype("int32"))
    records = tf.data.Dataset.from_tensor_slices({"words": words, **{task.name: labels[task.name] for task in tasks}})
    preprocessor = mtl.text.Words([str(word) for word in range(8_000)], 128)
    return mtl.data.encode_text(records.map(lambda row: row), preprocessor, tasks).shuffle(rows, seed=0), preprocessor


def share_of_reading(args, steps=100):
    """What reading the batches takes of training on them, in turns: the median ratio with its quartiles."""
    tasks = [mtl.tasks.Classification("topic", 4), mtl.tasks.Tagging("tags", 17, scheme="none")]
    found = {task.name: annotated(8_000, [task]) for task in tasks}
    preprocessor = found["tags"][1]
    mixture = mtl.data.mix(
        {name: rows for name, (rows, _) in found.items()},
        batch_size=args.batch_size,
        boundaries=BOUNDARIES,
        epoch=steps,
        seed=0,
    )
    encoder = mtl.encoders.RecurrentEncoder(preprocessor.vocabulary_size, dim=128, units=128)
    model = mtl.build_model(preprocessor.inputs(), mtl.trunks.HardSharing(encoder), tasks)
    model.compile("adam")
    model.fit(mixture, verbose=0)
    iterator, turns = iter(mixture), []
    seconds(iterator, steps)
    for _ in range(args.turns):
        reading = seconds(iterator, steps)
        started = time.perf_counter()
        model.fit(mixture, verbose=0)
        turns.append(reading / (time.perf_counter() - started))
    return statistics.quantiles(turns, n=4)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000, help="rows of a turn")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=32)
    args = parser.parse_args()

    rows = [["complete", *speed(True, args)], ["lacking tasks", *speed(False, args)]]
    print(f"{args.turns} turns of {args.rows} rows, batch {args.batch_size}, {len(os.sched_getaffinity(0))} cores")
    header = ["sources", "mix, rows/s", "sample_from_datasets, rows/s", "ratio", "lower quartile", "upper quartile"]
    print(mtl.report.table(header, rows))
    for boundaries in (None, BOUNDARIES):
        print(f"padding with boundaries={boundaries}: {padding(boundaries, args.batch_size):.1%}")
    low, middle, high = share_of_reading(args)
    print(f"reading sentences takes {middle:.1%} ({low:.1%} - {high:.1%}) of the time of training an LSTM on them")


if __name__ == "__main__":
    main()
