"""Magnitude pruning: its schedule, its zeros, and its report."""

import keras
import numpy as np
import pytest

import tf_mtl as mtl
from tf_mtl.distribute import strategy


def build():
    tasks = [mtl.tasks.Regression("price"), mtl.tasks.BinaryClassification("sold", hidden_units=8)]
    model = mtl.build_model(keras.Input((6,)), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([16, 10])), tasks)
    model.compile(keras.optimizers.Adam(0.01))
    return model


def data(rows=64):
    x = np.random.default_rng(0).normal(size=(rows, 6)).astype("float32")
    return x, {"price": x[:, 0] + x[:, 1], "sold": (x[:, 2] > 0).astype("float32")}


def kernels(model):
    return [v.numpy() for v in model.trainable_variables if len(v.shape) > 1]


class Recorder(keras.callbacks.Callback):
    """Records the kernels after every step."""

    def __init__(self):
        super().__init__()
        self.kernels = []

    def on_train_batch_end(self, batch, logs=None):
        self.kernels.append(kernels(self.model))


def test_the_schedule_is_that_of_the_paper():
    pruning = mtl.callbacks.MagnitudePruning(0.8, begin=10, end=50)
    sparsities = [pruning.scheduled(step) for step in (0, 10, 20, 30, 50, 99)]
    expected = [0, 0, 0.8 * (1 - 0.75**3), 0.8 * (1 - 0.5**3), 0.8, 0.8]
    np.testing.assert_allclose(sparsities, expected)


def test_the_smallest_become_zero_and_stay_zero():
    model, recorder = build(), Recorder()
    pruning = mtl.callbacks.MagnitudePruning(0.75, begin=2, end=11, every=4)
    model.fit(*data(), 4, epochs=1, callbacks=[pruning, recorder], verbose=0)
    for step, recorded in enumerate(recorder.kernels, 1):
        last = max((s for s in (2, 6, 10, 11) if s <= step), default=0)
        for kernel in recorded:
            assert (kernel == 0).sum() == round(pruning.scheduled(last) * kernel.size)
    before, after = recorder.kernels[4], recorder.kernels[5]
    for old, new in zip(before, after, strict=True):
        pruned, remaining = np.abs(old[new == 0]), np.abs(old[new != 0])
        assert pruned.max() < remaining.min() + 0.03  # one step of Adam moves weights by up to 0.01 in between
    for old, new in zip(recorder.kernels[10], recorder.kernels[-1], strict=True):
        np.testing.assert_array_equal(old == 0, new == 0)
        assert not np.array_equal(old, new)


def test_sparsity_is_logged_and_the_change_of_metrics_is_printed(capsys):
    model, (x, y) = build(), data()
    before = model.evaluate(x, y, return_dict=True, verbose=0)
    pruning = mtl.callbacks.MagnitudePruning(0.9, begin=0, end=4, every=2, data=(x, y))
    history = model.fit(x, y, 16, epochs=2, callbacks=[pruning], verbose=0)
    assert history.history["sparsity"] == pytest.approx([0.9, 0.9], abs=0.01)
    after = model.evaluate(x, y, return_dict=True, verbose=0)
    lines = {line.split("|")[1].strip(): line for line in capsys.readouterr().out.splitlines() if "|" in line}
    for name in ("price_rmse", "sold_auc"):
        cells = [cell.strip() for cell in lines[name].split("|")[2:5]]
        assert cells == [f"{v:.4f}" for v in (before[name], after[name], after[name] - before[name])]
    assert "90% zeros" in lines["metric"]


def test_only_given_variables_are_pruned():
    model = build()
    (variable,) = [v for v in model.trainable_variables if v.path == "sold_hidden/kernel"]
    pruning = mtl.callbacks.MagnitudePruning(0.5, begin=0, end=1, variables=[variable])
    model.fit(*data(), 16, epochs=1, callbacks=[pruning], verbose=0)
    assert (variable.numpy() == 0).mean() == 0.5
    zeros = [v.path for v in model.trainable_variables if len(v.shape) > 1 and (v.numpy() == 0).any()]
    assert zeros == [variable.path]


def test_two_replicas_equal_one():
    kernels_of_runs = []
    for distribution in (strategy("one_device"), strategy("mirrored")):
        keras.utils.set_random_seed(1)
        with distribution.scope():
            model = build()
        pruning = mtl.callbacks.MagnitudePruning(0.5, begin=1, end=3, every=1)
        model.fit(*data(), 16, epochs=2, shuffle=False, callbacks=[pruning], verbose=0)
        kernels_of_runs.append(kernels(model))
    for one, other in zip(*kernels_of_runs, strict=True):
        np.testing.assert_array_equal(one == 0, other == 0)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_resumed_run_keeps_its_zeros(tmp_path):
    def run(epochs, folder):
        keras.utils.set_random_seed(1)
        model = build()
        callbacks = [
            mtl.callbacks.MagnitudePruning(0.6, begin=1, end=6, every=2),
            mtl.callbacks.Checkpoint(folder, every="1 step"),
        ]
        model.fit(*data(), 16, epochs=epochs, callbacks=callbacks, shuffle=False, verbose=0)
        return model.get_weights()

    uninterrupted = run(4, tmp_path / "uninterrupted")
    run(1, tmp_path / "resumed")
    resumed = run(4, tmp_path / "resumed")
    for one, other in zip(uninterrupted, resumed, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("optimizer", ["scaled", "averaged"])
def test_with_other_optimizers_and_steps_per_execution(optimizer):
    model = build()
    adam = keras.optimizers.Adam(0.01, use_ema=optimizer == "averaged")
    model.compile(keras.optimizers.LossScaleOptimizer(adam) if optimizer == "scaled" else adam, steps_per_execution=2)
    pruning = mtl.callbacks.MagnitudePruning(0.75, begin=2, end=6, every=2)
    model.fit(*data(), 8, epochs=1, callbacks=[pruning], verbose=0)
    for kernel in kernels(model):
        assert (kernel == 0).sum() == round(0.75 * kernel.size)


def test_mixing_matrices_are_not_pruned():
    tasks = [mtl.tasks.Regression("a"), mtl.tasks.Regression("b")]
    trunk = mtl.trunks.CrossStitch(mtl.encoders.MLPEncoder([8, 8]))
    model = mtl.build_model(keras.Input((6,)), trunk, tasks)
    model.compile("adam")
    x, _ = data()
    pruning = mtl.callbacks.MagnitudePruning(0.75, begin=0, end=1)
    model.fit(x, {"a": x[:, 0], "b": x[:, 1]}, 32, callbacks=[pruning], verbose=0)
    pruned = {v.name for v in model.trainable_variables if (v.numpy() == 0).mean() > 0.5 and len(v.shape) > 1}
    assert pruned == {"kernel"}


def test_nothing_to_prune():
    model = build()
    with pytest.raises(ValueError, match="There is nothing to prune"):
        model.fit(*data(), callbacks=[mtl.callbacks.MagnitudePruning(0.5, 0, 1, variables=[])], verbose=0)


def test_bad_arguments():
    for sparsity in (0, 1, 1.5):
        with pytest.raises(ValueError, match="`sparsity` must be between 0 and 1"):
            mtl.callbacks.MagnitudePruning(sparsity, 0, 10)
    for steps in ((5, 5, 1), (-1, 5, 1), (0, 5, 0)):
        with pytest.raises(ValueError, match="must be an integer, at least"):
            mtl.callbacks.MagnitudePruning(0.5, *steps)
