"""Files that are damaged, cannot be written or hold no finite state, and what is lost when training ends otherwise."""

import contextlib
import os
import signal
import threading

import keras
import numpy as np
import pytest
import small_models

import tf_mtl as mtl
from tf_mtl.callbacks import _checkpoint_files
from tf_mtl.callbacks._checkpoint_files import CheckpointFiles


@pytest.fixture(autouse=True)
def _interrupts_raise():
    """SIGINT raises `KeyboardInterrupt` in a process that was started in the background, too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def written(directory, steps, keep=3, size=1):
    files = CheckpointFiles(directory, keep)
    for step in steps:
        files.write(step, {"steps": step}, [np.full(size, step, "float32"), np.arange(3)])
    files.close()
    return files


def names(directory):
    return sorted(path.name for path in directory.iterdir() if not path.name.startswith("."))


def name(step):
    return f"step-{step:010d}.worker-0.npz"


def test_a_file_is_read_as_it_was_written_and_by_numpy(tmp_path):
    files = written(tmp_path, [5])
    values, arrays = files.newest(rename=True)
    assert values == {"steps": 5}
    np.testing.assert_array_equal(arrays[0], [5])
    np.testing.assert_array_equal(arrays[1], [0, 1, 2])
    with np.load(tmp_path / name(5)) as archive:
        assert len(archive.files) == 3


def test_damaged_files_are_renamed_and_new_ones_stay(tmp_path):
    written(tmp_path, [100, 110, 120])
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:50])
    files = CheckpointFiles(tmp_path, 3)
    with pytest.warns(UserWarning, match="not a complete checkpoint"):
        assert files.newest(rename=True) is None
    for step in (10, 20, 30, 40):
        files.write(step, {"steps": step}, [])
    files.close()
    assert names(tmp_path) == [*(f"damaged-{name(step)}" for step in (100, 110, 120)), *map(name, (20, 30, 40))]
    assert files.newest(rename=True).values == {"steps": 40}


def test_only_readable_files_count(tmp_path):
    written(tmp_path, [10, 20, 30])
    (tmp_path / name(20)).write_bytes(b"")
    files = CheckpointFiles(tmp_path, 3)
    assert files.newest(rename=True).values == {"steps": 30}
    files.write(40, {}, [])
    with pytest.warns(UserWarning, match="renamed"):
        files.close()
    assert names(tmp_path) == [f"damaged-{name(20)}", *map(name, (10, 30, 40))]


def test_no_changed_or_cut_file_is_read_as_another(tmp_path):
    files = written(tmp_path, [1], size=40)
    path, rng = tmp_path / name(1), np.random.default_rng(0)
    content = path.read_bytes()
    expected = files.read(1)
    read = 0
    for place in rng.integers(0, len(content), 400):
        bit = 1 << int(rng.integers(8))
        path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
        with contextlib.suppress(ValueError):
            values, arrays = files.read(1)
            assert values == expected.values
            assert len(arrays) == 2
            for array, other in zip(arrays, expected.arrays, strict=True):
                np.testing.assert_array_equal(array, other)
            read += 1
    assert read < 20  # what is changed in the mark of the digest alone
    for end in range(0, len(content) - 50, 7):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match="not a complete checkpoint"):
            files.read(1)


def test_files_are_written_beside_training(tmp_path, monkeypatch):
    may_write, whole_file = threading.Event(), _checkpoint_files.whole_file

    def slow(path, kind):
        assert may_write.wait(60)
        return whole_file(path, kind)

    monkeypatch.setattr(_checkpoint_files, "whole_file", slow)
    files = CheckpointFiles(tmp_path, 2)
    array = np.zeros(3)
    files.write(1, {}, [array])
    assert names(tmp_path) == []
    may_write.set()
    files.close()
    assert names(tmp_path) == [name(1)]


def run(directory, epochs=4, callbacks=(), y=None, every="2 steps", optimizer=None, first=()):
    model = small_models.model()
    model.compile(optimizer or keras.optimizers.Adam(0.01), loss=small_models.LOSS, jit_compile=False)
    x, labels = small_models.full_data(64)
    checkpoint = mtl.callbacks.Checkpoint(directory, every=every)
    labels |= y or {}
    callbacks = [*first, checkpoint, *callbacks]
    history = model.fit(x, labels, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)
    return model, history.history


def too_large():
    price = small_models.full_data(64)[1]["price"].copy()
    price[40] = 1e30
    return {"price": price}


def test_a_state_that_is_not_finite_is_not_saved(tmp_path):
    expected = run(tmp_path / "expected")
    with pytest.warns(
        UserWarning, match="No checkpoint was saved after step 6: .*NaN or infinity.* is that of step 4"
    ) as seen:
        run(tmp_path / "run", y=too_large())
    assert sum("No checkpoint" in str(warning.message) for warning in seen) < 4  # not one for each step
    assert names(tmp_path / "run") == [name(2), name(4)]
    model, history = run(tmp_path / "run")
    for one, other in zip(model.get_weights(), expected[0].get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert history == expected[1]


def test_the_end_that_a_callback_sets_at_an_infinite_loss_is_not_the_end_of_training(tmp_path):
    expected = run(tmp_path / "expected")
    with pytest.warns(
        UserWarning, match="stopped after step 6, .*the next run continues from the checkpoint of step 4"
    ):
        run(tmp_path / "run", y=too_large(), callbacks=[keras.callbacks.TerminateOnNaN()])
    assert run(tmp_path / "run", callbacks=[keras.callbacks.TerminateOnNaN()])[1] == expected[1]


def test_large_but_finite_weights_after_an_infinite_loss_are_not_the_end_of_training(tmp_path):
    def options():
        return {"first": [keras.callbacks.TerminateOnNaN()], "optimizer": keras.optimizers.SGD(1e-9)}

    expected = run(tmp_path / "expected", **options())
    with pytest.warns(UserWarning, match="stopped after step 6, .* continues from the checkpoint of step 5"):
        run(tmp_path / "run", y=too_large(), every="1 step", **options())
    assert run(tmp_path / "run", every="1 step", **options())[1] == expected[1]


def test_a_full_disk_does_not_end_training(tmp_path, monkeypatch):
    whole_file, calls = _checkpoint_files.whole_file, []

    def full_at_first(path, kind):
        calls.append(path)
        if len(calls) in (2, 3):
            raise OSError(28, "No space left on device")
        return whole_file(path, kind)

    monkeypatch.setattr(_checkpoint_files, "whole_file", full_at_first)
    with pytest.warns(UserWarning, match="after step 4: .*No space left on device.* is that of step 2"):
        run(tmp_path, epochs=1)
    assert names(tmp_path) == [name(2), name(8)]


class At(keras.callbacks.Callback):
    """Calls a function after some batch of the first epoch."""

    def __init__(self, batch, function):
        super().__init__()
        self.batch, self.function = batch, function

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.batch and self.model.optimizer.iterations == batch + 1:
            self.function()


def test_an_interrupt_saves_the_step_that_it_ends(tmp_path):
    expected = run(tmp_path / "expected", epochs=2)[1]
    interrupt = At(4, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", callbacks=[interrupt], every="100 steps")
    assert names(tmp_path / "run") == [name(6)]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert run(tmp_path / "run", epochs=2)[1] == expected


def test_an_interrupt_in_the_step_that_an_infinite_loss_ends_is_told(tmp_path):
    interrupt = At(4, lambda: signal.raise_signal(signal.SIGINT))
    with (
        pytest.warns(UserWarning, match="stopped after step 6, .*the next run continues from the checkpoint of step 4"),
        pytest.raises(KeyboardInterrupt),
    ):
        run(tmp_path, y=too_large(), first=[keras.callbacks.TerminateOnNaN()], callbacks=[interrupt])


def test_a_second_interrupt_ends_training_immediately(tmp_path):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with (
        pytest.warns(UserWarning, match="KeyboardInterrupt after step 5; .* checkpoint of step 4"),
        pytest.raises(KeyboardInterrupt),
    ):
        run(tmp_path, callbacks=[At(4, twice)])


def test_interrupts_that_the_process_ignores_do_not_end_training(tmp_path):
    """As in a process that a shell script runs in the background."""
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run(tmp_path, epochs=1, callbacks=[At(2, lambda: [signal.raise_signal(signal.SIGINT) for _ in range(2)])])
    finally:
        assert signal.signal(signal.SIGINT, earlier) is signal.SIG_IGN
    assert names(tmp_path) == [name(4), name(6), name(8)]


def test_an_exception_says_what_is_lost(tmp_path):
    def fail():
        raise ZeroDivisionError

    with (
        pytest.warns(UserWarning, match="ZeroDivisionError after step 2; .* from the first step"),
        pytest.raises(ZeroDivisionError),
    ):
        run(tmp_path, callbacks=[At(1, fail)], every="100 steps")
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert handlers == [signal.SIG_DFL, signal.default_int_handler]


def test_fit_in_a_callback(tmp_path):
    class Inner(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.model.fit(*small_models.full_data(16), verbose=0, batch_size=8)

    model, history = run(tmp_path, epochs=3, callbacks=[Inner()], every="1 epoch")
    assert int(model.optimizer.iterations) == 3 * 8 + 2
    assert len(history["loss"]) == 3 or len(model.history.history["loss"]) == 1
    assert names(tmp_path) == [name(8), name(16), name(24)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_last_step_ends_the_process(tmp_path, number):
    class Last(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            signal.raise_signal(number)

    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, epochs=1, callbacks=[Last()])
        assert signal.getsignal(signal.SIGTERM) is signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, earlier)
    assert name(8) in names(tmp_path)


def test_the_folder_stays_where_it_was_when_training_began(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    run("run", epochs=1, callbacks=[At(2, lambda: os.chdir("elsewhere"))])
    assert names(tmp_path / "run") == [name(4), name(6), name(8)]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_unfinished_files_of_killed_runs_are_deleted_and_those_of_others_stay(tmp_path):
    (tmp_path / ".writing-checkpoint-host-1-file").touch()
    (tmp_path / ".writing-checkpoint-host-1-folder").mkdir()
    (tmp_path / ".writing-host-1-of-a-cache").touch()
    CheckpointFiles(tmp_path, 2).clean()
    assert {path.name for path in tmp_path.iterdir()} == {
        ".writing-checkpoint-host-1-folder",
        ".writing-host-1-of-a-cache",
    }


def test_a_run_without_a_readable_file_starts_from_scratch_and_says_so(tmp_path):
    written(tmp_path, [1])
    (tmp_path / name(1)).write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="No checkpoint in .* can be read. Training starts from scratch"):
        assert CheckpointFiles(tmp_path, 2).newest(rename=True) is None


def test_a_disk_that_fails_for_a_moment_costs_no_file(tmp_path, monkeypatch):
    files = written(tmp_path, [1, 2])

    def fails(file):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(_checkpoint_files, "_check_digest", fails)
        with pytest.raises(OSError, match="Input/output"):
            files.newest(rename=True)
    assert names(tmp_path) == [name(1), name(2)]
