"""A run that is resumed with other data, or by a different script, trains what it reports, or says why it cannot."""

import contextlib
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl._pipeline import feed
from tf_mtl._pipeline.data_description import describe
from tf_mtl._pipeline.feed import fit_feed

ROWS = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")


class Stop(keras.callbacks.Callback):
    """Ends training after so many batches, as a kill does, and counts them."""

    def __init__(self, after=None):
        super().__init__()
        self.after, self.batches = after, []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(batch)
        if len(self.batches) == self.after:
            raise ConnectionError


def build(tasks=("a", "b"), dtype=None):
    keras.utils.set_random_seed(0)
    encoder = mtl.encoders.MLPEncoder([8])
    if dtype is not None:
        encoder = keras.Sequential([keras.layers.Dense(8, dtype=dtype)])
    return mtl.build_model(keras.Input((4,)), mtl.trunks.HardSharing(encoder), [mtl.tasks.Regression(t) for t in tasks])


def train(
    directory, stop=None, *, model=None, x=None, rows=ROWS, optimizer="adam", every="4 steps", callbacks=(), **fit
):
    """Train on 8 batches of arrays, or on a data set; return the model, the history and the number of updates."""
    options = {key: fit.pop(key) for key in ("steps_per_execution", "balancing", "metrics", "non_finite") if key in fit}
    on_change = {"on_change": fit.pop("on_change")} if "on_change" in fit else {}
    model = model or build()
    model.compile(optimizer, jit_compile=False, **options)
    y = {task: rows.sum(1) for task in model.task_names}
    data = (
        {"x": rows, "y": y, "batch_size": 8} if x is None else {"x": x(tf.data.Dataset.from_tensor_slices((rows, y)))}
    )
    checkpoint = mtl.callbacks.Checkpoint(directory, every=every, **on_change)
    history = None
    with contextlib.suppress(ConnectionError):
        arguments = {"epochs": 4, "verbose": 0, **data, **fit}
        history = model.fit(callbacks=[checkpoint, *callbacks, Stop(stop)], **arguments)
    return model, history and history.history, int(model.optimizer.iterations)


@pytest.fixture
def interrupted(tmp_path):
    """The folder of a run of 8 steps per epoch that was interrupted in its second epoch, after a save at step 12."""
    with pytest.warns(UserWarning, match="ended with ConnectionError after step 14; .* checkpoint of step 12"):
        train(tmp_path, stop=14)
    return tmp_path


@pytest.mark.parametrize("steps_per_execution", [3, 5, 8])
def test_other_steps_per_execution(interrupted, tmp_path_factory, steps_per_execution):
    expected, history, _ = train(tmp_path_factory.mktemp("expected"))
    model, resumed, updates = train(interrupted, steps_per_execution=steps_per_execution)
    assert updates == 32
    for one, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    assert resumed.keys() == history.keys()
    np.testing.assert_allclose(resumed["loss"], history["loss"], rtol=1e-5)


@pytest.mark.parametrize(
    ("batch_size", "updates"), [(64, 12 + 1 + 2), (16, 12 + 2 + 8), (7, 12 + 5 + 20), (1, 12 + 32 + 128)]
)
def test_another_batch_size_of_arrays_continues_with_the_next_row(interrupted, batch_size, updates):
    """32 of 64 rows of the second epoch are left, in as many new batches as they need."""
    _, history, made = train(interrupted, batch_size=batch_size)
    assert made == updates
    assert len(history["loss"]) == 4


def test_rows_after_a_change_of_the_batch_size_are_those_not_seen_before(tmp_path):
    """With a learning rate of 0, the mean loss over the epoch is that of an undisturbed run."""
    expected = train(tmp_path / "a", optimizer=keras.optimizers.SGD(0.0), shuffle=False)[1]["a_loss"]
    with pytest.warns(UserWarning, match="ConnectionError"):
        train(tmp_path / "b", stop=14, optimizer=keras.optimizers.SGD(0.0), shuffle=False)
    resumed = train(tmp_path / "b", optimizer=keras.optimizers.SGD(0.0), shuffle=False, batch_size=5)[1]["a_loss"]
    np.testing.assert_allclose(resumed, expected, rtol=1e-6)


def batches(size):
    return lambda rows: rows.batch(size)


@pytest.mark.slow
def test_other_batches_of_a_data_set(tmp_path):
    with pytest.warns(UserWarning, match="ConnectionError"):
        train(tmp_path, stop=14, x=batches(8))
    with pytest.raises(
        ValueError, match=r"(?s)run:\n- `x` has 4 elements, in the checkpoint 8.*batches of \[16\] rows"
    ):
        train(tmp_path, x=batches(16))
    with pytest.warns(UserWarning, match="although these differ"):
        _, history, updates = train(tmp_path, x=batches(16), on_change="keep_weights")
    assert updates == 12 + 3 * 4  # the second epoch starts again
    assert len(history["loss"]) == 4


def test_other_batches_of_a_data_set_between_epochs(tmp_path):
    train(tmp_path, epochs=2, x=batches(8))
    assert train(tmp_path, x=batches(16))[2] == 2 * 8 + 2 * 4


def test_other_batches_of_endless_data(tmp_path):
    def endless(size):
        return lambda rows: rows.repeat().batch(size)

    train(tmp_path, epochs=2, x=endless(8), steps_per_epoch=5)
    with pytest.raises(ValueError, match=r"batches of \[4\] rows, in the checkpoint \[8\]"):
        train(tmp_path, x=endless(4), steps_per_epoch=5)
    with pytest.warns(UserWarning, match="although"):
        assert train(tmp_path, x=endless(4), steps_per_epoch=5, on_change="keep_weights")[2] == 20


def test_other_rows(interrupted):
    with pytest.raises(ValueError, match="`x` has 72 elements, in the checkpoint 64"):
        train(interrupted, rows=np.concatenate([ROWS, ROWS[:8]]))


def test_other_inputs(interrupted):
    keras.utils.set_random_seed(0)
    trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    wider = mtl.build_model(keras.Input((8,)), trunk, [mtl.tasks.Regression(task) for task in "ab"])
    with pytest.raises(ValueError, match="(?s)different run.*weights: only in the checkpoint.*`x` gives elements"):
        train(interrupted, model=wider, rows=np.concatenate([ROWS, ROWS], 1))


@pytest.mark.parametrize("steps", [4, 3])
def test_epochs_of_some_steps_of_finite_data(tmp_path, steps):
    """Passes and epochs end at different steps; the resumed run is the undisturbed one."""
    options = {"x": batches(8), "steps_per_epoch": steps, "epochs": 5, "every": "1 step"}
    expected = train(tmp_path / "a", **options)
    for stop in (steps - 1, steps + 1, 2 * steps):
        folder = tmp_path / str(stop)
        train(folder, stop=stop, **options)
        resumed = train(folder, **options)
        assert resumed[2] == expected[2]
        np.testing.assert_array_equal(resumed[0].get_weights()[0], expected[0].get_weights()[0])
        assert resumed[1] == expected[1]


def test_fewer_steps_per_epoch_than_were_taken(tmp_path):
    def endless(rows):
        return rows.repeat().batch(8)

    with pytest.warns(UserWarning, match="ConnectionError"):
        train(tmp_path, stop=14, x=endless, steps_per_epoch=8)
    with pytest.raises(ValueError, match="an epoch has 3 steps, in the checkpoint already 4"):
        train(tmp_path, x=endless, steps_per_epoch=3)
    assert train(tmp_path, x=endless, steps_per_epoch=6)[2] == 8 + 3 * 6


@pytest.mark.parametrize(("stop", "epochs"), [(None, 1), (14, 1)])
def test_fewer_epochs_than_were_trained_warn(tmp_path, stop, epochs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(tmp_path, stop=stop, epochs=3)
    with pytest.warns(UserWarning, match=f"beyond `epochs={epochs}`.*trained for longer"):
        train(tmp_path, epochs=epochs)


def test_as_many_epochs_as_were_trained_do_not_warn(tmp_path):
    train(tmp_path, epochs=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert train(tmp_path, epochs=2)[2] == 16


def test_another_order_of_rows_warns_within_an_epoch(tmp_path):
    def shuffled(seed):
        return lambda rows: rows.shuffle(64, seed=seed).batch(8)

    with pytest.warns(UserWarning, match="ConnectionError"):
        train(tmp_path, stop=14, x=shuffled(1))
    with pytest.warns(UserWarning, match="within epoch 2: .*some rows are seen twice"):
        assert train(tmp_path, x=shuffled(2))[2] == 32


@pytest.mark.parametrize("first", [keras.optimizers.SGD(0.001, momentum=0.9), keras.optimizers.Lion(0.001)])
def test_another_optimizer(tmp_path, first):
    train(tmp_path, optimizer=first, epochs=2)
    with pytest.raises(
        ValueError, match=r"(?s)optimizer: only in the checkpoint: \w+/iteration.*only in this run: rm_sprop"
    ):
        train(tmp_path, optimizer=keras.optimizers.RMSprop(0.001))
    with pytest.warns(UserWarning, match="(?s)although.*optimizer:"):
        _, history, updates = train(tmp_path, optimizer=keras.optimizers.RMSprop(0.001), on_change="keep_weights")
    assert updates == 16  # a new optimizer, two more epochs
    assert np.isfinite(history["loss"]).all()
    assert len(history["loss"]) == 4


def test_another_learning_rate(tmp_path):
    train(tmp_path, optimizer=keras.optimizers.Adam(0.001), epochs=2)
    with pytest.raises(ValueError, match="learning rate: 0.1, in the checkpoint 0.001"):
        train(tmp_path, optimizer=keras.optimizers.Adam(0.1))
    with pytest.warns(UserWarning, match="learning rate: 0.1"):
        model, _, updates = train(tmp_path, optimizer=keras.optimizers.Adam(0.1), on_change="keep_weights")
    assert updates == 32  # its momenta are kept
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)


def test_a_learning_rate_that_a_callback_changed_is_restored(tmp_path):
    def schedule(epoch, rate):
        return rate / 2

    def run(epochs):
        halve = keras.callbacks.LearningRateScheduler(schedule)
        model, *_ = train(tmp_path, optimizer=keras.optimizers.Adam(0.08), epochs=epochs, callbacks=[halve])
        return float(model.optimizer.learning_rate)

    assert run(2) == pytest.approx(0.02)
    assert run(4) == pytest.approx(0.005)


def test_renamed_tasks_and_new_ones(tmp_path):
    first, *_ = train(tmp_path, epochs=2)
    with pytest.raises(ValueError, match="(?s)weights: only in the checkpoint: .*b.*only in this run: .*c"):
        train(tmp_path, model=build(("a", "c")))
    model = build(("a", "c"))
    new = model.get_layer("c").get_weights() if "c" in [layer.name for layer in model.layers] else None
    with pytest.warns(UserWarning, match="although"):
        train(tmp_path, model=model, epochs=2, on_change="keep_weights")
    np.testing.assert_array_equal(first.get_layer("mlp_encoder").get_weights()[0], model.layers[1].get_weights()[0])
    assert new is None or all(map(np.array_equal, new, model.get_layer("c").get_weights()))


@pytest.mark.parametrize("tasks", ["abc", "ac"])
def test_the_best_weights_of_another_model_are_not_restored(tmp_path, tasks):
    def run(epochs, model, **options):
        stop = keras.callbacks.EarlyStopping("loss", patience=9, min_delta=1e9, restore_best_weights=True)
        train(tmp_path, model=model, epochs=epochs, optimizer=keras.optimizers.SGD(0.0), callbacks=[stop], **options)
        return model.get_weights()[-1]

    first, resumed = build("ab"), build(tasks)
    first.set_weights([values + 1 for values in first.get_weights()])
    run(2, first)
    with pytest.warns(UserWarning, match="although"):
        bias_of_c = run(3, resumed, on_change="keep_weights")
    np.testing.assert_array_equal(bias_of_c, [0])


def test_a_callback_more_does_not_move_states(tmp_path):
    def run(epochs, *before):
        stop = keras.callbacks.EarlyStopping("loss", patience=4, min_delta=100)
        return len(train(tmp_path, epochs=epochs, callbacks=[*before, stop])[1]["loss"])

    assert run(3) == 3
    assert run(20, keras.callbacks.TerminateOnNaN()) == 5


def test_a_missing_callback(tmp_path):
    stop = keras.callbacks.EarlyStopping("loss", patience=4)
    train(tmp_path, epochs=2, callbacks=[stop])
    with pytest.raises(ValueError, match="callbacks: only in the checkpoint: EarlyStopping of loss"):
        train(tmp_path, callbacks=[keras.callbacks.EarlyStopping("a_loss", patience=4)])


def test_weights_of_16_bits_in_a_model_of_32(tmp_path):
    first, *_ = train(tmp_path, epochs=1, model=build(dtype="bfloat16"))
    with pytest.raises(ValueError, match=r"(?s)\[4, 8\] bfloat16.*\[4, 8\] float32"):
        train(tmp_path, epochs=1, model=build(dtype="float32"))
    model = build(dtype="float32")
    with pytest.warns(UserWarning, match="although"):
        train(tmp_path, epochs=1, model=model, on_change="keep_weights")
    np.testing.assert_array_equal(np.asarray(first.get_weights()[0], "float32"), model.get_weights()[0])


def test_metrics_that_change_mid_epoch(interrupted):
    """Those with the same name continue, and the new one counts the rest of the epoch."""
    with pytest.warns(
        UserWarning, match="epoch 2, new metrics count only what comes after step 12: .*only in this run: "
    ):
        _, history, updates = train(interrupted, metrics={"a": ["mse"]})
    assert updates == 32
    assert len(history["b_mae"]) == 4
    assert len(history["a_mse"]) == 3  # the first epoch had no such metric


def test_nan_and_skip_after_it_mid_epoch(tmp_path):
    """A user who finds NaN restarts with `non_finite="skip"`."""
    bad = ROWS.copy()
    with pytest.warns(UserWarning, match="ConnectionError"):
        train(tmp_path, stop=14, rows=bad)
    with pytest.warns(UserWarning, match="new metrics count only"):
        _, history, updates = train(tmp_path, non_finite="skip")
    assert updates == 32
    assert history["skipped_steps"] == [0.0] * 3


def test_other_sources_of_endless_data(tmp_path):
    def endless(rows):
        return rows.repeat().batch(8)

    train(tmp_path, epochs=2, x=endless, steps_per_epoch=5)
    with pytest.raises(ValueError, match=r"`x` reads sources of \[72\] elements, in the checkpoint \[64\]"):
        train(tmp_path, x=endless, steps_per_epoch=5, rows=np.concatenate([ROWS, ROWS[:8]]))


def test_a_callback_that_monitors_nothing_may_be_missing(tmp_path):
    train(tmp_path, epochs=2, callbacks=[keras.callbacks.CSVLogger(tmp_path / "log.csv")])
    assert train(tmp_path)[2] == 32


def test_best_weights_of_16_bits(tmp_path):
    def run(epochs):
        stop = keras.callbacks.EarlyStopping("loss", patience=1, min_delta=100, restore_best_weights=True)
        model, history, _ = train(tmp_path, model=build(dtype="bfloat16"), epochs=epochs, callbacks=[stop])
        return model, history

    run(1)
    model, history = run(5)
    assert len(history["loss"]) == 2
    assert np.isfinite(np.asarray(model.get_weights()[0], "float32")).all()


def test_logs_of_any_kind(tmp_path):
    class Logs(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs |= {"text": "words", "array": np.arange(2), "number": np.float32(0.5)}

    train(tmp_path, epochs=2, callbacks=[Logs()])
    history = train(tmp_path, epochs=3, callbacks=[Logs()])[1]
    assert history["text"] == ["words"] * 3
    assert history["number"] == [0.5] * 3


def test_renamed_tasks_with_numbers(tmp_path):
    def build(tasks):
        keras.utils.set_random_seed(0)
        heads = [mtl.tasks.BinaryClassification(task) for task in tasks]
        return mtl.build_model(keras.Input((4,)), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8])), heads)

    options = {"epochs": 1, "rows": np.tile(np.eye(4, dtype="float32"), (16, 1))}
    first, *_ = train(tmp_path, model=build(["task_1", "task_2"]), **options)
    with pytest.raises(ValueError, match="only in the checkpoint: task_1/kernel.*only in this run: task_3/kernel"):
        train(tmp_path, model=build(["task_2", "task_3"]), **options)
    with pytest.warns(UserWarning, match="although"):
        model, *_ = train(tmp_path, model=build(["task_2", "task_3"]), on_change="keep_weights", **options)
    np.testing.assert_array_equal(*(each.get_layer("task_2").kernel for each in (first, model)))


def test_names_that_end_in_zeros_are_not_those_of_keras(tmp_path):
    def build(tasks):
        keras.utils.set_random_seed(0)
        x = keras.Input((4,))
        encoder = keras.Model(x, keras.layers.Dense(4, name="layer_0")(keras.layers.Dense(4, name="layer")(x)))
        return mtl.build_model(x, mtl.trunks.HardSharing(encoder), [mtl.tasks.Regression(task) for task in tasks])

    first, *_ = train(tmp_path, epochs=1, model=build("ab"))
    with pytest.warns(UserWarning, match="although"):
        model, *_ = train(tmp_path, epochs=1, model=build("abc"), on_change="keep_weights")
    of_encoders = [{v.path: v.numpy() for v in each.variables if "layer" in v.path} for each in (first, model)]
    np.testing.assert_equal(*of_encoders)


@pytest.mark.parametrize("rows", [64, 61])
def test_sharded_batches_may_be_read_by_another_number_of_workers(rows):
    data = tf.data.Dataset.from_tensor_slices((ROWS[:rows], {"a": ROWS[:rows, 0]}))
    batches = mtl.data.sharded(lambda index: data.shard(4, index).shuffle(8, seed=index + 1), 4, 8)
    model = build("a")
    model.compile("sgd")

    def described(workers, monkeypatch):
        monkeypatch.setattr(feed, "worker_index", lambda strategy: (0, workers))
        return fit_feed(
            model._engine.rules,
            model.distribute_strategy,
            model.balancing,
            (batches, None, None),
            *(None, False, None, None, 0.0, None, None, None),
        ).training

    with pytest.MonkeyPatch.context() as monkeypatch:
        streams = [described(workers, monkeypatch) for workers in (1, 2, 4)]
    descriptions = [describe(stream) for stream in streams]
    assert descriptions[0] == descriptions[1] == descriptions[2]
    assert streams[1].dataset.element_spec != streams[0].dataset.element_spec
