"""All balancing methods, a small model, and data with missing labels, for the tests in this folder."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference_steps import fresh_copy

import tf_mtl as mtl
from tf_mtl.balancing._wrapper import Wrapper

B = mtl.balancing
TASKS = ("a", "b", "c")


def batches(seed=0, rows=20, size=8):
    """Batches with many missing labels (NaN): the second batch has none for `a`, and the last batch is smaller."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 6)).astype("float32")
    weight = {task: (rng.random(rows) < 0.6).astype("float32") for task in TASKS}
    weight["a"][8:16] = 0
    y = {task: (x[:, :3] @ rng.normal(size=3) + 1).astype("float32") for task in TASKS}
    y = {task: np.where(weight[task] > 0, y[task], np.nan).astype("float32") for task in TASKS}
    return tf.data.Dataset.from_tensor_slices((x, y, weight)).batch(size)


METHODS = {  # methods that need arguments; all others are created without any
    B.Fixed: lambda: B.Fixed({"a": 1.0, "b": 2.0, "c": 0.5}),
    B.EMA: lambda: B.EMA(B.UPGrad(preference={"a": 2.0})),
    B.Every: lambda: B.Every(B.UPGrad(), 2),
    B.AutoLambda: lambda: B.AutoLambda(batches(seed=1), learning_rate=0.01),
}
BUILT_IN = [
    value
    for value in vars(B).values()
    if isinstance(value, type)
    and issubclass(value, B.Balancing)
    and value not in (B.Balancing, B.Scalarizer, B.Weighting, B.Aggregator)
]


REPRESENTATIVES = (  # together they have all traits, and none is superfluous
    B.Fixed,
    B.Uncertainty,
    B.FAMO,
    B.AutoLambda,
    B.DWA,
    B.Krum,
    B.IMTL,
    B.MoDo,
    B.GradDrop,
    B.EMA,
    B.DBMTL,
)
FLAGS = [name for name, default in vars(B.Balancing).items() if isinstance(default, bool)]


def make(method):
    return METHODS.get(method, method)()


def bound_copy(method, width):
    """A copy of a method in its initial state, bound to three tasks."""
    return fresh_copy(method, TASKS, width, owner_model())


@functools.cache
def owner_model():
    """A model that methods can be bound to."""
    return small_model()


def traits(method):
    """The properties of a method that training depends on: its kind, flags and hooks."""
    instance = bound_copy(make(method), 4)
    is_wrapper = isinstance(instance, Wrapper)
    hooks = {name for name in ("transform", "end_epoch") if getattr(method, name) is not getattr(B.Balancing, name)}
    names = {instance.kind, *(flag for flag in FLAGS if getattr(instance, flag)), *(set() if is_wrapper else hooks)}
    combinations = {
        "is_wrapper": is_wrapper,
        "draws": any(v.name == "seeds" for v in instance.variables),
        f"{instance.kind} with trained variables": instance.trainable_variables,
        f"{instance.kind} without variables": not instance.variables and instance.kind == "gramian",
        "jacobian without state of its width": instance.kind == "jacobian" and not instance.has_jacobian_state,
    }
    return names | {name for name, value in combinations.items() if value}


def with_slow_marks(methods):
    """Methods as parameters of tests; all but the representatives are marked slow."""
    return [pytest.param(m, marks=[] if m in REPRESENTATIVES else pytest.mark.slow, id=m.__name__) for m in methods]


def small_model(policy="float32"):
    keras.utils.set_random_seed(3)
    x = keras.Input((6,))
    h = keras.layers.Dense(8, activation="tanh", dtype=policy, name="shared_1")(x)
    h = keras.layers.Dense(4, activation="tanh", dtype=policy, name="shared_2")(h)
    return mtl.MultiTaskModel(x, {task: keras.layers.Dense(1, name=task, dtype=policy)(h) for task in TASKS})


def compiled(method, optimizer=None, **options):
    """A compiled model, created under the current strategy."""
    model = small_model(options.pop("policy", "float32"))
    clipping = {"global_clipnorm": options.pop("clip", None)}
    optimizer = optimizer or keras.optimizers.Adam(0.01, **clipping)
    model.compile(optimizer, loss="mse", balancing=make(method), **options)
    return model


def fit(model, epochs=3):
    return model.fit(batches(), epochs=epochs, verbose=0).history
