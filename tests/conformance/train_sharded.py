"""Train on shards under a strategy, and print the shards that this worker has read; the chief writes results to OUT.

Usage: train_sharded.py STRATEGY OUT [--checkpoints FOLDER] [--kill-after STEPS] METHOD[:OPTION=VALUE,...] ...

With --kill-after, the process kills itself after that many steps.
"""

import argparse
import json
import os
import pickle
import signal

import balancing_methods as methods
import keras
import numpy as np
import tensorflow as tf

import tf_mtl as mtl

SIZES = (5, 4, 5, 3, 5, 4)
READ = set()


def shard(index, seed=0):
    """Shuffled rows with missing labels; a pass through them adds the index to `READ`."""
    rng = np.random.default_rng([seed, index])
    x = rng.normal(size=(SIZES[index], 6)).astype("float32")
    weight = {task: (rng.random(len(x)) < 0.6).astype("float32") for task in methods.TASKS}
    y = {task: np.where(weight[task] > 0, x @ rng.normal(size=6), np.nan).astype("float32") for task in methods.TASKS}
    rows = tf.data.Dataset.from_tensor_slices((x, y, weight))

    def read(_):
        READ.add(index)
        return np.int64(0)

    begin = tf.data.Dataset.range(1).map(lambda n: tf.numpy_function(read, [n], tf.int64))
    counted = begin.flat_map(lambda _: rows).apply(tf.data.experimental.assert_cardinality(len(x)))
    return counted.shuffle(3, seed=index)


def batches(seed=0):
    """Three batches of 12 rows, of six shards of different sizes."""
    return mtl.data.sharded(lambda index: shard(index, seed), shards=len(SIZES), batch_size=12)


class Kill(keras.callbacks.Callback):
    """Kills the process after some steps."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def on_train_batch_end(self, batch, logs=None):
        if self.model._feed.training.steps == self.steps:
            os.kill(os.getpid(), signal.SIGKILL)


def train_case(case, directory=None, kill_after=None):
    """Return weights, history and evaluation after nine steps with validation."""
    name, _, options = case.partition(":")
    options = dict(option.split("=") for option in options.split(",") if option)
    options = {key: int(value) if value.isdigit() else value for key, value in options.items()}
    model = methods.compiled(getattr(methods.B, name), **options)
    if model.balancing.needs_validation:
        model.balancing.validation = batches(seed=1)
    callbacks = [mtl.callbacks.Checkpoint(directory, every="2 steps")] if directory else []
    callbacks += [Kill(kill_after)] if kill_after else []
    data, validation = batches(), batches(seed=1)
    history = model.fit(data, validation_data=validation, epochs=3, verbose=0, callbacks=callbacks).history
    weights = [*model.get_weights(), *(v.numpy() for v in model.balancing.variables)]
    return {"weights": weights, "history": history, "evaluation": model.evaluate(data, verbose=0, return_dict=True)}


def main():
    """Train each case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("strategy")
    parser.add_argument("out")
    parser.add_argument("--checkpoints")
    parser.add_argument("--kill-after", type=int)
    parser.add_argument("cases", nargs="+")
    args = parser.parse_args()
    strategy = mtl.distribute.strategy(args.strategy)
    results = {}
    for case in args.cases:
        with strategy.scope():
            results[case] = train_case(case, args.checkpoints, args.kill_after)
        keras.utils.clear_session()
    print(json.dumps(sorted(READ)))
    if mtl.distribute.is_chief(strategy):
        with open(args.out, "wb") as file:
            pickle.dump(results, file)


if __name__ == "__main__":
    main()
