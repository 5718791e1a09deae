"""Groups of tasks that are planted in the labels are found by their affinities during training."""

import keras
import numpy as np

import tf_mtl as mtl

TASKS = [f"{group}{number}" for group in "ab" for number in range(3)]


def planted(seed, rows=1024, dim=16, scatter=0.25):
    """Linear tasks: those of a group scatter around a direction, in a plane that is orthogonal to the other group's."""
    rng = np.random.default_rng(seed)
    planes = np.linalg.qr(rng.normal(size=(dim, 4)))[0].reshape(dim, 2, 2)
    x, labels = rng.normal(size=(rows, dim)).astype("float32"), {}
    for number, task in enumerate(TASKS):
        loadings = np.array([1.0, 0.0]) + scatter * rng.normal(size=2)
        noise = 0.1 * rng.normal(size=rows)
        labels[task] = (x @ planes[:, number // 3] @ loadings / np.linalg.norm(loadings) + noise).astype("float32")
    return x, labels


def found(seeds, begin_at_zero):
    """The number of seeds for which the two groups are found."""
    trunk = mtl.trunks.HardSharing(keras.layers.Dense(64, use_bias=False, name="shared"))
    model = mtl.build_model(keras.Input((16,)), trunk, [mtl.tasks.Regression(task) for task in TASKS])
    model.compile(keras.optimizers.SGD(0.02), jit_compile=False)
    count = 0
    for seed in range(seeds):
        rng, data = np.random.default_rng(seed), planted(seed)
        for variable in model.trainable_variables:
            scale = 0 if begin_at_zero and "shared" not in variable.path else variable.shape[0] ** -0.5
            variable.assign(scale * rng.normal(size=variable.shape))
        affinity = mtl.callbacks.TaskAffinity([data], every=4, update="first_order")
        model.fit(*data, batch_size=64, epochs=2, shuffle=False, verbose=0, callbacks=[affinity])
        groups = mtl.analysis.group(affinity.result().matrix, TASKS, groups=2).groups
        count += {frozenset(group) for group in groups} == {frozenset(TASKS[:3]), frozenset(TASKS[3:])}
    return count


def test_planted_groups_are_found_if_heads_begin_at_zero():
    """Random heads point elsewhere than the tasks at first, and the affinities of early steps show that alone."""
    assert found(20, begin_at_zero=True) >= 19
    assert found(5, begin_at_zero=False) <= 2
