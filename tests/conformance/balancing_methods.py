"""Every balancing method with a small model and ragged data, for the tests of this folder."""

import keras
import numpy as np
import tensorflow as tf

import tf_mtl as mtl

B = mtl.balancing
TASKS = ("a", "b", "c")


def batches(seed=0, rows=20, size=8):
    """Rows of which many lack labels, NaN there: the second batch has none for `a`, the last is smaller."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 6)).astype("float32")
    weight = {task: (rng.random(rows) < 0.6).astype("float32") for task in TASKS}
    weight["a"][8:16] = 0
    y = {task: (x[:, :3] @ rng.normal(size=3) + 1).astype("float32") for task in TASKS}
    y = {task: np.where(weight[task] > 0, y[task], np.nan).astype("float32") for task in TASKS}
    return tf.data.Dataset.from_tensor_slices((x, y, weight)).batch(size)


METHODS = {  # those that need arguments, or other tasks than three, as here; all others are made without any
    B.Fixed: lambda: B.Fixed({"a": 1.0, "b": 2.0, "c": 0.5}),
    B.EMA: lambda: B.EMA(B.UPGrad(preference={"a": 2.0})),
    B.Every: lambda: B.Every(B.UPGrad(), 2),
    B.AutoLambda: lambda: B.AutoLambda(batches(seed=1), learning_rate=0.01),
}
BUILT_IN = [
    found
    for found in vars(B).values()
    if isinstance(found, type)
    and issubclass(found, B.Balancing)
    and found not in (B.Balancing, B.Scalarizer, B.Weighting, B.Aggregator)
]


def make(method):
    return METHODS.get(method, method)()


def model(policy="float32"):
    keras.utils.set_random_seed(3)
    x = keras.Input((6,))
    h = keras.layers.Dense(8, activation="tanh", dtype=policy)(x)
    h = keras.layers.Dense(4, activation="tanh", dtype=policy)(h)
    return mtl.MultiTaskModel(x, {task: keras.layers.Dense(1, name=task, dtype=policy)(h) for task in TASKS})


def compiled(method, **options):
    """A compiled model, made under the strategy of the scope."""
    made = model(options.pop("policy", "float32"))
    clipping = {"global_clipnorm": options.pop("clip", None)}
    made.compile(keras.optimizers.Adam(0.01, **clipping), loss="mse", balancing=make(method), **options)
    return made


def fit(made, epochs=3):
    return made.fit(batches(), epochs=epochs, verbose=0).history
