"""A training run with every kind of state that a checkpoint must contain; it writes its results.

Usage: long_run.py STRATEGY DIRECTORY OUT EVERY [EPOCHS]
"""

import pickle
import sys
import time

import keras
import numpy as np
import tensorflow as tf

import tf_mtl as mtl

STEPS = 20


class Slow(keras.callbacks.Callback):
    """Slows training down, so that tests can kill it, and prints the progress."""

    def on_train_begin(self, logs=None):
        self.steps = [self.model._feed.training.steps]  # a list, which checkpoints do not save

    def on_train_batch_end(self, batch, logs=None):
        if self.model._feed.training.steps > self.steps[-1]:
            self.steps.append(self.model._feed.training.steps)
            print(f"step {self.steps[-1]}", flush=True)
            time.sleep(0.05)

    def on_test_begin(self, logs=None):
        print("validation", flush=True)
        time.sleep(0.2)


def data(seed):
    """Shuffled batches of unknown number, with missing labels."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(STEPS * 8 - 3, 6)).astype("float32")
    y = {task: (x @ rng.normal(size=6)).astype("float32") for task in "abc"}
    weight = {task: (rng.random(len(x)) < 0.7).astype("float32") for task in "abc"}
    rows = tf.data.Dataset.from_tensor_slices((x, y, weight))
    return rows.filter(lambda x, y, weight: True).shuffle(50, seed=5).batch(8)


def main(name, directory, out, every, epochs="5"):
    """Train with dropout, a method with random state, validation, and callbacks with state."""
    keras.utils.set_random_seed(1)
    strategy = mtl.distribute.strategy(name)
    with strategy.scope():
        model = mtl.build_model(
            keras.Input((6,)),
            mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([16, 8], dropout=0.2)),
            [mtl.tasks.Regression(task) for task in "abc"],
        )
        method = mtl.balancing.EMA(mtl.balancing.PCGrad(seed=1))
        model.compile("adam", balancing=method, jit_compile=False)
    schedule = keras.callbacks.ReduceLROnPlateau("val_loss", patience=1, min_delta=0.5)
    stop = keras.callbacks.EarlyStopping("val_loss", patience=50, restore_best_weights=True)
    checkpoint = mtl.callbacks.Checkpoint(directory, every=every)
    callbacks = [schedule, stop, checkpoint, Slow()]
    history = model.fit(data(0), validation_data=data(1), epochs=int(epochs), verbose=0, callbacks=callbacks)
    if mtl.distribute.is_chief(strategy):
        variables = [*model.variables, *model.optimizer.variables, *model.balancing.variables]
        results = {"weights": [v.numpy() for v in variables], "history": history.history, "epochs": history.epoch}
        with open(out, "wb") as file:
            pickle.dump(results, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
