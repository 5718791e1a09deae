"""An example of every trunk with encoders of vectors, tokens and images, for the tests in this folder."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

T = mtl.trunks
TASKS = ("a", "b")


def expert():
    return keras.layers.Dense(4, "tanh")


TRUNKS = {  # functions of an encoder with two stages, and of the tasks
    T.HardSharing: lambda encoder, tasks: T.HardSharing(encoder),
    T.SoftSharing: lambda encoder, tasks: T.SoftSharing(encoder, strength=0.1),
    T.Hierarchical: lambda encoder, tasks: T.Hierarchical(encoder, {task: int(task != tasks[0]) for task in tasks}),
    T.CrossStitch: lambda encoder, tasks: T.CrossStitch(encoder),
    T.Sluice: lambda encoder, tasks: T.Sluice(encoder, orthogonality=0.1),
    T.MMoE: lambda encoder, tasks: T.MMoE(encoder, expert(), experts=3, tower=expert()),
    T.CGC: lambda encoder, tasks: T.CGC(encoder, expert(), task_experts=2),
    T.PLE: lambda encoder, tasks: T.PLE(encoder, expert()),
    T.DSelectK: lambda encoder, tasks: T.DSelectK(encoder, expert(), experts=3, entropy=0.1, reach=0.1),
    T.MTAN: lambda encoder, tasks: T.MTAN(encoder),
    T.LearningToBranch: lambda encoder, tasks: T.LearningToBranch(encoder),
    T.TaskConditioned: lambda encoder, tasks: T.TaskConditioned(encoder, dim=3),
    T.Adapters: lambda encoder, tasks: T.Adapters(encoder, bottleneck=2),
    T.LoRA: lambda encoder, tasks: T.LoRA(encoder, rank=2),
    T.MTLLoRA: lambda encoder, tasks: T.MTLLoRA(encoder, rank=2),
}


def vectors(rows):
    return np.random.default_rng(0).normal(size=(rows, 5)).astype("float32")


def ids(rows):
    """Token ids; the last two of each row are padding."""
    return np.random.default_rng(0).integers(1, 20, (rows, 8)) * (np.arange(8) < 6)


def images(rows):
    return np.random.default_rng(0).normal(size=(rows, 8, 8, 3)).astype("float32")


ENCODERS = {  # an encoder with two stages, its symbolic inputs, and inputs for some rows
    "vectors": (lambda: mtl.encoders.MLPEncoder([6, 4], "tanh"), lambda: keras.Input((5,), name="x"), vectors),
    "tokens": (
        lambda: mtl.encoders.TransformerEncoder(20, 8, dim=8, layers=1, heads=2, dropout=0.0),
        lambda: keras.Input((None,), dtype="int32", name="x"),
        ids,
    ),
    "images": (lambda: mtl.encoders.ConvEncoder([4, 6]), lambda: keras.Input((8, 8, 3), name="x"), images),
}
CASES = [  # encoders other than those of vectors are for the slow tests, except with MTAN, which needs maps
    pytest.param(trunk, kind, marks=[] if kind == "vectors" or trunk is T.MTAN else pytest.mark.slow)
    for trunk in TRUNKS
    for kind in ENCODERS
    if trunk is not T.MTAN or kind == "images"
]
REPRESENTATIVES = (T.HardSharing, T.Hierarchical, T.PLE, T.Sluice)  # a single encoder, stages, gates, and a penalty
FEW_CASES = [  # representatives with vectors; all others are for the slow tests
    pytest.param(trunk, kind, marks=[] if trunk in REPRESENTATIVES and kind == "vectors" else pytest.mark.slow)
    for trunk, kind in (case.values for case in CASES)
]


def trunk_of(trunk, kind, tasks=TASKS):
    return TRUNKS[trunk](ENCODERS[kind][0](), tasks)


def build_example(trunk, kind, features="pooled", seed=0):
    """A model of two regressions: `a` reads `features`, `b` reads `pooled`."""
    keras.utils.set_random_seed(seed)
    tasks = [mtl.tasks.Regression(task) for task in TASKS]
    tasks[0].features = features
    return mtl.build_model(ENCODERS[kind][1](), trunk_of(trunk, kind), tasks)


def data(kind, rows=16):
    """Batches of 8 inputs, labels and weights; `b` has no labels in the first batch and in the last three rows."""
    rng = np.random.default_rng(1)
    y = {task: rng.normal(size=rows).astype("float32") for task in TASKS}
    weight = {task: np.ones(rows, "float32") for task in TASKS}
    weight["b"][rows - 3 :] = 0
    weight["b"][:8] = 0
    return tf.data.Dataset.from_tensor_slices((ENCODERS[kind][2](rows), y, weight)).batch(8)
