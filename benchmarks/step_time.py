"""Time of a training step, as ratios to the same model in plain `keras.Model.fit`.

    python benchmarks/step_time.py

Every way runs its own `fit` in a thread of one process; a baton lets one step of each run at a time, in turn. The ratio
is the median, over steps, of a step's time and that of the plain step in the same turn; ways with label weights are
compared with the plain model with sample weights.
"""

import argparse
import os
import statistics
import threading
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


def data(batch, steps, weighted):
    """The same batches for every way, kept in memory; with label weights, a third of which are 0."""
    rng = np.random.default_rng(0)
    rows = batch * steps
    y = {
        "topic": rng.integers(0, 4, rows),
        "polarity": rng.integers(0, 3, rows),
        "intensity": rng.normal(size=rows).astype("float32"),
        "disagreement": rng.normal(size=rows).astype("float32"),
    }
    weights = {task: (rng.random(rows) < 2 / 3).astype("float32") for task in TASKS}
    rows = (rng.integers(1, 12_000, (rows, 48)), y, weights)[: 3 if weighted else 2]
    return tf.data.Dataset.from_tensor_slices(rows).batch(batch).cache().prefetch(2)


class InTurn(keras.callbacks.Callback):
    """Runs a step when it has the baton, measures it, and passes the baton on."""

    def __init__(self, baton: threading.Semaphore, following: threading.Semaphore):
        super().__init__()
        self.baton, self.following = baton, following
        self.seconds = []

    def on_train_batch_begin(self, batch, logs=None):
        self.baton.acquire()
        self.started = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.seconds.append(time.perf_counter() - self.started)
        self.following.release()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    args = parser.parse_args()

    ways = {
        "keras.Model": (keras.Model, {}, False),
        "keras.Model again": (keras.Model, {}, False),
        "equal": (mtl.MultiTaskModel, {"balancing": "equal"}, False),
        "Gramian, features": (mtl.MultiTaskModel, {"balancing": SumOfGradients(), "gradients": "features"}, False),
        "Gramian, parameters": (mtl.MultiTaskModel, {"balancing": SumOfGradients()}, False),
        "keras.Model, label weights": (keras.Model, {}, True),
        "equal, label weights": (mtl.MultiTaskModel, {"balancing": "equal"}, True),
    }
    batches = {weighted: data(args.batch_size, args.steps, weighted) for weighted in (False, True)}
    batons = [threading.Semaphore(0) for _ in ways]
    callbacks, threads = {}, []
    for i, (way, (model_class, options, weighted)) in enumerate(ways.items()):
        model = build(model_class, args.dim, args.layers)
        model.compile("adam", loss=losses(), metrics=metrics(), **options)
        model.fit(batches[weighted].take(2), verbose=0, shuffle=False)
        callbacks[way] = InTurn(batons[i], batons[(i + 1) % len(batons)])
        fit = {"verbose": 0, "shuffle": False, "callbacks": [callbacks[way]]}
        threads.append(threading.Thread(target=model.fit, args=(batches[weighted],), kwargs=fit))
    batons[0].release()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    seconds = {way: callback.seconds[10:] for way, callback in callbacks.items()}
    rows = []
    for way, found in seconds.items():
        base = seconds["keras.Model, label weights" if ways[way][2] else "keras.Model"]
        ratios = [a / b for a, b in zip(found, base, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        rows.append([way, 1000 * statistics.median(found), statistics.median(ratios), low, high])
    print(f"{args.steps} steps of each, batch {args.batch_size}, {len(os.sched_getaffinity(0))} cores")
    print(mtl.report.table(["way", "ms per step", "ratio", "lower quartile", "upper quartile"], rows))


if __name__ == "__main__":
    main()
