"""Time of a training step, as ratios to the same model in plain `keras.Model.fit`.

    python benchmarks/step_time.py

The ways are measured in turn, epoch by epoch, in one process; a ratio is the median over rounds of the ratios of one
round. Rounds take turns in which way comes first.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import tf_mtl as mtl

TASKS = ("topic", "polarity", "intensity", "disagreement")


class SumOfGradients(mtl.balancing.Weighting):
    """Weights of 1 that depend on the Gramian, so that it is computed."""

    def call(self, gramian, losses=None):
        return 1.0 + 0.0 * tf.linalg.diag_part(gramian)


def build(model_class, dim, layers):
    """A Transformer with four heads."""
    keras.utils.set_random_seed(0)
    ids = keras.Input((48,), dtype="int32")
    features = mtl.encoders.TransformerEncoder(12_000, 48, dim=dim, layers=layers, heads=4, feedforward_dim=2 * dim)(
        ids
    )
    units = dict(zip(TASKS, (4, 3, 1, 1), strict=True))
    return model_class(ids, {task: keras.layers.Dense(n, name=task)(features["pooled"]) for task, n in units.items()})


def losses():
    sparse = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return {"topic": sparse, "polarity": sparse, "intensity": "mse", "disagreement": "mse"}


def metrics():
    return {"topic": ["accuracy"], "polarity": ["accuracy"], "intensity": ["mae"], "disagreement": ["mae"]}


def data(batch, steps):
    """The same batches for every way, kept in memory."""
    rng = np.random.default_rng(0)
    rows = batch * steps
    y = {
        "topic": rng.integers(0, 4, rows),
        "polarity": rng.integers(0, 3, rows),
        "intensity": rng.normal(size=rows).astype("float32"),
        "disagreement": rng.normal(size=rows).astype("float32"),
    }
    return tf.data.Dataset.from_tensor_slices((rng.integers(1, 12_000, (rows, 48)), y)).batch(batch).cache().prefetch(2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    args = parser.parse_args()

    ways = {
        "keras.Model": (keras.Model, {}),
        "keras.Model again": (keras.Model, {}),
        "equal": (mtl.MultiTaskModel, {"balancing": "equal"}),
        "Gramian, features": (mtl.MultiTaskModel, {"balancing": SumOfGradients(), "gradients": "features"}),
        "Gramian, parameters": (mtl.MultiTaskModel, {"balancing": SumOfGradients()}),
    }
    batches, models = data(args.batch_size, args.steps), {}
    for way, (model_class, options) in ways.items():
        models[way] = build(model_class, args.dim, args.layers)
        models[way].compile("adam", loss=losses(), metrics=metrics(), **options)
        models[way].fit(batches, verbose=0, shuffle=False)

    seconds = {way: [] for way in ways}
    for round_ in range(args.rounds):
        order = list(ways) if round_ % 2 else list(ways)[::-1]
        for way in order:
            started = time.perf_counter()
            models[way].fit(batches, verbose=0, shuffle=False)
            seconds[way].append((time.perf_counter() - started) / args.steps)
    rows = []
    for way in ways:
        ratios = sorted(a / b for a, b in zip(seconds[way], seconds["keras.Model"], strict=True))
        quartiles = statistics.quantiles(ratios, n=4)
        rows.append(
            [way, 1000 * statistics.median(seconds[way]), statistics.median(ratios), quartiles[0], quartiles[2]]
        )
    print(f"{args.rounds} rounds of {args.steps} steps, batch {args.batch_size}, {len(os.sched_getaffinity(0))} cores")
    print(mtl.report.table(["way", "ms per step", "ratio", "lower quartile", "upper quartile"], rows))


if __name__ == "__main__":
    main()
