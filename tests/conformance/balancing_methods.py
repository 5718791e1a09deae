"""Every balancing method with a small model and ragged data, for the tests of this folder."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from steps_by_hand import fresh

import tf_mtl as mtl
from tf_mtl.balancing._wrapper import Wrapper

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


REPRESENTATIVES = (  # the fewest that cover all traits
    B.Fixed,
    B.Uncertainty,
    B.FAMO,
    B.AutoLambda,
    B.DWA,
    B.UPGrad,
    B.IMTL,
    B.MoDo,
    B.GradDrop,
    B.EMA,
    B.DBMTL,
)
FLAGS = [name for name, default in vars(B.Balancing).items() if isinstance(default, bool)]


def make(method):
    return METHODS.get(method, method)()


def bound_copy(made, width):
    """An equal method without a past, ready to be called."""
    return fresh(made, TASKS, width, an_owner())


@functools.cache
def an_owner():
    """A model that methods may be bound to."""
    return model()


def traits(method):
    """What training treats specially in a method: its kind, and its flags and hooks."""
    made = bound_copy(make(method), 4)
    is_wrapper = isinstance(made, Wrapper)
    hooks = {name for name in ("transform", "end_epoch") if getattr(method, name) is not getattr(B.Balancing, name)}
    found = {made.kind, *(flag for flag in FLAGS if getattr(made, flag)), *(set() if is_wrapper else hooks)}
    own = {
        "is_wrapper": is_wrapper,
        "draws": any(v.name == "seeds" for v in made.variables),
        f"{made.kind} with trained variables": made.trainable_variables,
        f"{made.kind} without variables": not made.variables and made.kind == "gramian",
        "jacobian without state of its width": made.kind == "jacobian" and not made.has_jacobian_state,
    }
    return found | {name for name, value in own.items() if value}


def representative(methods):
    """Methods as parameters, of which all but the representatives are for the slow tests."""
    return [pytest.param(m, marks=[] if m in REPRESENTATIVES else pytest.mark.slow, id=m.__name__) for m in methods]


def model(policy="float32"):
    keras.utils.set_random_seed(3)
    x = keras.Input((6,))
    h = keras.layers.Dense(8, activation="tanh", dtype=policy, name="shared_1")(x)
    h = keras.layers.Dense(4, activation="tanh", dtype=policy, name="shared_2")(h)
    return mtl.MultiTaskModel(x, {task: keras.layers.Dense(1, name=task, dtype=policy)(h) for task in TASKS})


def compiled(method, optimizer=None, **options):
    """A compiled model, made under the strategy of the scope."""
    made = model(options.pop("policy", "float32"))
    clipping = {"global_clipnorm": options.pop("clip", None)}
    optimizer = optimizer or keras.optimizers.Adam(0.01, **clipping)
    made.compile(optimizer, loss="mse", balancing=make(method), **options)
    return made


def fit(made, epochs=3):
    return made.fit(batches(), epochs=epochs, verbose=0).history
