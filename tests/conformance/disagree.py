"""Workers that differ in one thing after another; print, per case, the error and the seconds until it came."""

import json
import sys
import time

import keras
import numpy as np
import tensorflow as tf

import tf_mtl as mtl

STRATEGY = mtl.distribute.strategy("multi_worker")
IS_SECOND = not mtl.distribute.is_chief(STRATEGY)
X = np.linspace(-1, 1, 32, dtype="float32").reshape(8, 4)


def second(value, otherwise):
    return value if IS_SECOND else otherwise


def build(units=8, tasks="ab", **task_options):
    tasks = [mtl.tasks.Regression(task, **task_options) for task in tasks]
    trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([units]))
    return mtl.build_model(keras.Input((4,)), trunk, tasks)


def functional(tasks, activation="relu"):
    x = keras.Input((4,))
    h = keras.layers.Dense(8, activation=activation)(x)
    return mtl.MultiTaskModel(x, {task: keras.layers.Dense(1)(h) for task in tasks})


def compiled(model, loss="mse", **options):
    model.compile(**{"optimizer": "sgd", "loss": loss, "balancing": "equal", **options})
    return model


def data(tasks="ab", rows=8):
    return X[:rows], {task: X[:rows].sum(1) for task in tasks}


def fit(model, tasks="ab", rows=8, **options):
    return model.fit(*data(tasks, rows), **{"batch_size": 4, "verbose": 0, "shuffle": False, **options})


def huber(delta):
    return {"a": keras.losses.Huber(delta), "b": "mse"}


def other_version():
    module = sys.modules["tf_mtl.distribute._agreement"]
    version, module.__version__ = module.__version__, second("9.9.9", module.__version__)
    try:
        fit(MODEL)
    finally:
        module.__version__ = version


def with_other_method():
    if IS_SECOND:
        MODEL.evaluate(*data(), batch_size=4, verbose=0)
    else:
        fit(MODEL)


def frozen():
    layer = MODEL.get_layer("mlp_encoder")
    layer.trainable = not IS_SECOND
    try:
        compiled(MODEL)
    finally:
        layer.trainable = True


CASES = {
    "width": lambda: build(second(16, 8)),
    "name": lambda: build(tasks=second("ac", "ab")),
    "depth of a head": lambda: build(hidden_units=second(4, None)),
    "name in a graph": lambda: compiled(functional(second("ac", "ab"))),
    "activation": lambda: compiled(functional("ab", second("tanh", "relu"))),
    "balancing": lambda: compiled(build(), balancing=second("mgda", "equal")),
    "seed": lambda: compiled(build(), balancing=mtl.balancing.RLW(seed=second(1, 2))),
    "optimizer": lambda: compiled(build(), optimizer=second("adam", "sgd")),
    "loss": lambda: compiled(build(), loss=huber(second(2.0, 1.0))),
    "non-finite steps": lambda: compiled(build(), non_finite=second("skip", "keep")),
    "frozen layer": frozen,
    "shape": lambda: MODEL.fit(batches(second(3, 4)), verbose=0),
    "batches": lambda: fit(MODEL, rows=second(4, 8)),
    "epochs": lambda: fit(MODEL, epochs=second(2, 1)),
    "validation": lambda: fit(MODEL, validation_data=second(data(), None)),
    "version": other_version,
    "method": with_other_method,
    "evaluation": lambda: MODEL.evaluate(*data(rows=second(4, 8)), batch_size=4, verbose=0),
    "prediction": lambda: MODEL.predict(X[: second(4, 8)], batch_size=4, verbose=0),
}


def batches(size):
    return tf.data.Dataset.from_tensor_slices(data()).batch(size, drop_remainder=True).take(2)


def main():
    """Go through the cases, train without any difference, then run different operations, after which none can run."""
    for name, run in CASES.items():
        began = time.monotonic()
        try:
            run()
            message = None
        except RuntimeError as error:
            message = str(error)
        print(json.dumps([name, message, time.monotonic() - began]), flush=True)
    if IS_SECOND:
        keras.layers.Dense(3)  # so that Keras numbers the names of this worker differently
    model = compiled(build(), loss_weights=dict.fromkeys(second("ba", "ab"), 1.0))  # the order of a set differs
    loss = fit(model, validation_data=data()).history["loss"]
    print(json.dumps(["trained", loss, model.evaluate(*data(), verbose=0)]))
    try:
        keras.Variable(0.0) if IS_SECOND else fit(model)
    except (RuntimeError, tf.errors.OpError) as error:
        print(json.dumps(str(error)))


if __name__ == "__main__":
    with STRATEGY.scope():
        MODEL = compiled(build())
        main()
