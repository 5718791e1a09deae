"""A run that is killed at any moment and resumed gives the same result as an uninterrupted run."""

import pickle
import random
import signal
import time

import keras
import numpy as np
import processes
import pytest
import small_models
import tensorflow as tf

import tf_mtl as mtl

RUN = "callbacks/long_run.py"


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The results of a run that is not killed."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    processes.finish([processes.start(RUN, "one_device", folder / "run", folder / "out", "1 epoch")])
    return pickle.loads((folder / "out").read_bytes())


def assert_same_results(results, expected):
    for one, other in zip(results["weights"], expected["weights"], strict=True):
        np.testing.assert_array_equal(one, other)
    assert results["epochs"] == expected["epochs"]
    assert results["history"] == expected["history"]


def saved_steps(directory):
    return sorted(int(path.name[5:15]) for path in directory.glob("step*worker-0*"))


def kill_and_finish(kills, folder, every, seed, most_seconds):
    """Start the run and kill it soon after its first step, `kills` times; then let it finish."""
    random.seed(seed)
    deadline, saved_before_kill = time.monotonic() + most_seconds, []
    for _ in range(kills):
        process = processes.start(RUN, "one_device", folder / "run", folder / "out", every)
        while not (line := process.stdout.readline()).startswith("step"):
            assert line, process.stderr.read()[-2000:]
        time.sleep(random.random() * 0.5)
        process.kill()
        process.wait()
        saved_before_kill += saved_steps(folder / "run")[-1:]
        assert time.monotonic() < deadline
    processes.finish([processes.start(RUN, "one_device", folder / "run", folder / "out", every)])
    assert len(set(saved_before_kill)) > kills // 3, saved_before_kill
    assert max(saved_before_kill) < 100, saved_before_kill
    return pickle.loads((folder / "out").read_bytes())


def test_two_kills(uninterrupted, tmp_path):
    assert_same_results(kill_and_finish(2, tmp_path, "2 steps", seed=0, most_seconds=120), uninterrupted)


@pytest.mark.slow
def test_twenty_kills(uninterrupted, tmp_path):
    assert_same_results(kill_and_finish(20, tmp_path, "1 step", seed=1, most_seconds=600), uninterrupted)


def test_sigterm_saves_a_checkpoint(uninterrupted, tmp_path):
    """Once mid-epoch, and once during the validation of the resumed run."""
    arguments = (RUN, "one_device", tmp_path / "run", tmp_path / "out", "100 minutes")
    for count, moment, steps in ((1, "step 7", range(7, 10)), (2, "validation", [20])):
        process = processes.start(*arguments)
        wait_for(process, moment)
        process.terminate()
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGTERM
        saved = saved_steps(tmp_path / "run")
        assert len(saved) == count
        assert saved[-1] in steps
    processes.finish([processes.start(*arguments)])
    assert_same_results(pickle.loads((tmp_path / "out").read_bytes()), uninterrupted)


def start_two(folder):
    return processes.start_workers(2, RUN, "multi_worker", folder / "run", folder / "out", "5 steps", 2)


def wait_for(process, output):
    while (line := process.stdout.readline().strip()) != output:
        assert line, process.stderr.read()[-3000:]


def kill_a_worker(folder):
    """Train with two workers, kill one, and check what the other says."""
    one, other = start_two(folder)
    wait_for(other, "step 27")
    other.kill()
    _, errors = one.communicate(timeout=90)
    assert one.returncode == 1
    assert "RuntimeError: A worker of the cluster is gone" in errors
    assert "task:1" in errors
    assert saved_steps(folder / "run")[-1] in (25, 30)


@pytest.mark.slow
def test_a_worker_dies_and_the_other_ends(tmp_path):
    kill_a_worker(tmp_path)


@pytest.mark.slow
def test_a_worker_dies_and_both_resume_from_the_last_checkpoint(tmp_path):
    (tmp_path / "uninterrupted").mkdir()
    processes.finish(start_two(tmp_path / "uninterrupted"), 180)
    kill_a_worker(tmp_path)
    processes.finish(start_two(tmp_path), 180)
    assert_same_results(
        *(pickle.loads((folder / "out").read_bytes()) for folder in (tmp_path, tmp_path / "uninterrupted"))
    )


def test_a_worker_is_preempted_and_both_save(tmp_path):
    one, other = start_two(tmp_path)
    wait_for(other, "step 7")
    other.terminate()
    for process in (one, other):
        _, errors = process.communicate(timeout=90)
        assert process.returncode == -signal.SIGTERM, errors[-3000:]
    assert max(saved_steps(tmp_path / "run")) < 12


def train(directory, epochs, every="5 steps", data=None, model=None, **options):
    """Train on arrays that are shuffled in each epoch of 12 steps."""
    model = model or small_models.model()
    with model.distribute_strategy.scope():
        optimizer = keras.optimizers.AdamW(0.01)
    model.compile(optimizer, loss=small_models.LOSS, jit_compile=False, **options)
    callbacks = [mtl.callbacks.Checkpoint(directory, every=every)]
    x, y, weight = small_models.ragged_data(rows=45)
    data = {"x": x, "y": y, "sample_weight": weight} if data is None else {"x": data}
    return model, model.fit(**data, epochs=epochs, batch_size=4, verbose=0, callbacks=callbacks).history


def weights(model):
    return [v.numpy() for v in [*model.variables, *model.optimizer.variables]]


def assert_equal_runs(one, other):
    for a, b in zip(weights(one[0]), weights(other[0]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one[1] == other[1]


def delete_later_checkpoints(directory, step):
    """Delete the checkpoints after a step."""
    for path in directory.glob("step*"):
        if int(path.name[5:15]) > step:
            path.unlink()


def test_resumes_mid_epoch_with_shuffled_arrays(tmp_path):
    expected = train(tmp_path / "a", 4)
    train(tmp_path / "b", 2)
    delete_later_checkpoints(tmp_path / "b", 20)
    assert max(saved_steps(tmp_path / "b")) == 20
    assert_equal_runs(train(tmp_path / "b", 4), expected)


def test_resumes_within_an_endless_mixture(tmp_path):
    def mixture():
        x, y, weight = small_models.ragged_data(rows=45)
        rows = [(x[i::2], {t: v[i::2] for t, v in y.items()}, {t: v[i::2] for t, v in weight.items()}) for i in (0, 1)]
        sources = {str(i): tf.data.Dataset.from_tensor_slices(part).shuffle(9, seed=i) for i, part in enumerate(rows)}
        return mtl.data.mix(sources, rates="uniform", seed=3).batch(4)

    def run(directory, epochs, steps=7):
        keras.utils.set_random_seed(5)
        model = small_models.model()
        model.compile("adam", loss=small_models.LOSS, jit_compile=False)
        callbacks = [mtl.callbacks.Checkpoint(directory, every="4 steps")]
        history = model.fit(mixture(), epochs=epochs, steps_per_epoch=steps, verbose=0, callbacks=callbacks)
        return model, history.history

    expected = run(tmp_path / "a", 4)
    run(tmp_path / "b", 2)
    delete_later_checkpoints(tmp_path / "b", 12)
    assert_equal_runs(run(tmp_path / "b", 4), expected)


def test_a_finished_run_is_not_trained_further(tmp_path):
    expected = train(tmp_path, 2)
    assert_equal_runs(train(tmp_path, 2), expected)
    assert len(train(tmp_path, 3)[1]["loss"]) == 3


def test_a_run_ended_by_early_stopping_is_not_trained_further(tmp_path):
    def run():
        model = small_models.model()
        model.compile(keras.optimizers.SGD(0.0), loss=small_models.LOSS, jit_compile=False)
        stop = keras.callbacks.EarlyStopping("loss", patience=1)
        callbacks = [stop, mtl.callbacks.Checkpoint(tmp_path)]
        return len(model.fit(*small_models.full_data(), epochs=9, verbose=0, callbacks=callbacks).epoch)

    assert run() == run() < 9


def test_steps_per_execution(tmp_path):
    expected = train(tmp_path / "a", 3, steps_per_execution=5)
    train(tmp_path / "b", 2, steps_per_execution=5)
    delete_later_checkpoints(tmp_path / "b", 17)
    assert max(saved_steps(tmp_path / "b")) == 17
    assert_equal_runs(train(tmp_path / "b", 3, steps_per_execution=5), expected)


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_checkpoint_is_skipped(tmp_path, damage):
    expected = train(tmp_path / "a", 3)
    train(tmp_path / "b", 2)
    newest = max((tmp_path / "b").iterdir())
    content = newest.read_bytes()
    half = len(content) // 2
    changed = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
    newest.write_bytes({"cut": content[:half], "changed": changed, "empty": b""}[damage])
    with pytest.warns(UserWarning, match="not a complete checkpoint.*It is not used"):
        resumed = train(tmp_path / "b", 3)
    assert_equal_runs(resumed, expected)


def test_an_unfinished_file_is_ignored_and_deleted(tmp_path):
    train(tmp_path, 1)
    newest = max(tmp_path.iterdir())
    for name in (".step-0000000099.worker-0.npz", f".writing-checkpoint-host-1-{'0' * 32}"):
        (tmp_path / name).write_bytes(newest.read_bytes())
    assert len(train(tmp_path, 2)[1]["loss"]) == 2
    assert [path.name for path in tmp_path.glob(".*")] == [".lock"]


def test_keeps_the_last_checkpoints(tmp_path):
    train(tmp_path, 3)
    assert saved_steps(tmp_path) == [30, 35, 36]


def test_one_device_resumes_a_run_on_two(tmp_path):
    """Weights agree up to rounding, and the metrics of the replicas are added."""
    expected = train(tmp_path / "a", 3)
    with mtl.distribute.strategy("mirrored").scope():
        two = small_models.model()
    train(tmp_path / "b", 2, model=two)
    delete_later_checkpoints(tmp_path / "b", 20)
    model, history = train(tmp_path / "b", 3)
    assert small_models.largest_difference(expected[0].get_weights(), model.get_weights()) < 1e-5
    for name, values in expected[1].items():
        np.testing.assert_allclose(history[name], values, rtol=1e-5)


def test_a_checkpoint_of_another_model(tmp_path):
    train(tmp_path, 1)
    with pytest.raises(ValueError, match="(?s)different run.*famo/.*another directory"):
        train(tmp_path, 2, balancing="famo")


def test_generators_are_not_supported():
    model = small_models.model()
    model.compile("adam", loss=small_models.LOSS)
    with pytest.raises(ValueError, match="`Checkpoint` needs `x` to be arrays"):
        model.fit(iter([small_models.full_data()]), callbacks=[mtl.callbacks.Checkpoint("nowhere")], verbose=0)


def test_a_shuffle_without_a_seed_warns(tmp_path):
    script = """
import keras, numpy as np, tensorflow as tf, small_models, tf_mtl as mtl
keras.utils.set_random_seed = lambda seed: None
model = small_models.model()
model.compile("adam", loss=small_models.LOSS, run_eagerly=True)
data = tf.data.Dataset.from_tensor_slices(small_models.full_data(8))
import sys, warnings
for seed in (None, 1):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows = data.shuffle(8, seed=seed).batch(4)
        model.fit(rows, verbose=0, callbacks=[mtl.callbacks.Checkpoint(sys.argv[1] + str(seed))])
    print(sum("without a seed" in str(warning.message) for warning in caught))
"""
    (tmp_path / "script.py").write_text(script)
    (output,) = processes.finish([processes.start(tmp_path / "script.py", tmp_path / "run")])
    assert output.split() == ["1", "0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"every": "5"}, "`every` must be like '100 steps'"), ({"every": 5}, "`every`"), ({"keep": 1}, "at least 2")],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        mtl.callbacks.Checkpoint("somewhere", **arguments)
