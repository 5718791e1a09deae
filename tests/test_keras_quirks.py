"""Behaviour of Keras that the package works around; a failure means that a workaround can be removed."""

import inspect
import json

import keras
import numpy as np
import processes
import pytest
import small_models
import tensorflow as tf

import tf_mtl as mtl


def test_a_loss_is_divided_by_all_rows():
    """_engine/masked_losses.py"""
    loss = keras.losses.MeanSquaredError()
    value = float(loss(np.zeros((3, 1)), np.ones((3, 1)), sample_weight=np.array([1.0, 0.0, 0.0])))
    assert value == pytest.approx(1 / 3)


def test_logged_task_losses_are_skewed_by_ragged_batches():
    """_engine/task_losses.py"""
    data = small_models.batches(small_models.full_data(rows=12))  # 8 + 4 rows
    plain, ours = small_models.model(keras.Model), small_models.model()
    for model in (plain, ours):
        model.compile("sgd", loss=small_models.LOSS)
    logs, correct = (model.evaluate(data, verbose=0, return_dict=True) for model in (plain, ours))
    assert logs["loss"] == pytest.approx(correct["loss"], rel=1e-5)
    assert logs["price_loss"] != pytest.approx(correct["price_loss"], rel=1e-3)


def test_metrics_of_tokens_ignore_masks_or_combine_them_wrongly_with_row_weights():
    """_engine/objectives.py: masked"""
    prediction = tf.constant([[0.0, 0.0], [1.0, 1.0]])
    prediction._keras_mask = tf.constant([[True, True], [True, False]])
    rmse = keras.metrics.RootMeanSquaredError()
    rmse.update_state(np.zeros((2, 2)), prediction)
    assert float(rmse.result()) == pytest.approx(np.sqrt(2 / 4))  # of three tokens one is wrong
    accuracy = keras.metrics.BinaryAccuracy()
    prediction = tf.constant([[[0.0], [0.0]], [[1.0], [1.0]]])
    prediction._keras_mask = tf.constant([[True, True], [True, False]])
    accuracy.update_state(np.zeros((2, 2, 1)), prediction, sample_weight=np.array([1.0, 0.0]))
    assert float(accuracy.result()) != 1  # the row that counts is right


def test_loss_weights_with_wrong_names_are_accepted():
    """_engine/objectives.py"""
    model = small_models.model(keras.Model)
    model.compile("sgd", loss=small_models.LOSS, loss_weights={"topics": 1.0, "price": 2.0})
    model.fit(*small_models.full_data(), verbose=0)


def test_strings_fail_under_a_strategy():
    """MultiTaskModel._maybe_symbolic_build"""
    with mtl.distribute.strategy("mirrored").scope():
        x = keras.Input((), dtype="string")
        ids = keras.layers.TextVectorization(vocabulary=["a", "b"], output_sequence_length=2)(x)
        model = keras.Model(x, {"a": keras.layers.Dense(1)(keras.layers.Embedding(4, 2)(ids)[:, 0])})
        model.compile("sgd", loss={"a": "mse"})
    data = tf.data.Dataset.from_tensors((np.array(["a", "b"]), {"a": np.zeros(2)}))
    with pytest.raises(Exception, match=r"(?i)string"):
        model.fit(data, verbose=0)


def test_an_overridden_compile_is_skipped_on_reload(tmp_path):
    """MultiTaskModel.get_compile_config and compile_from_config"""

    @keras.saving.register_keras_serializable("tests")
    class Overriding(keras.Model):
        def compile(self, *args, **kwargs):
            super().compile(*args, **kwargs)

    model = small_models.model(Overriding)
    model.compile("sgd", loss=small_models.LOSS)
    model.save(tmp_path / "model.keras")
    with pytest.warns(UserWarning, match="`compile\\(\\)` was not called"):
        keras.models.load_model(tmp_path / "model.keras")


def test_masked_means_of_empty_rows_are_nan():
    """layers/_masked_mean.py"""
    pooled = keras.layers.GlobalAveragePooling1D()(np.ones((1, 3, 2)), mask=np.zeros((1, 3), bool))
    assert np.isnan(pooled).all()


def test_layers_within_a_frozen_layer_are_trainable_after_loading():
    """MultiTaskModel._freeze_again"""
    layer = keras.layers.MultiHeadAttention(2, 4)
    x = keras.Input((3, 8))
    model = keras.Model(x, layer(x, x))
    layer.trainable = False
    assert model.trainable_variables == []
    assert keras.Model.from_config(model.get_config()).trainable_variables
    heads = {task: keras.layers.Dense(1, name=task)(layer(x, x)) for task in ("a", "b")}
    model = mtl.MultiTaskModel(x, heads)
    assert len(model.trainable_variables) == 4
    assert len(mtl.MultiTaskModel.from_config(model.get_config()).trainable_variables) == 4


def two_replicas(**options):
    """A plain Keras model on two replicas, and data with different halves."""
    with mtl.distribute.strategy("mirrored").scope():
        model = small_models.model(keras.Model)
        model.compile(options.pop("optimizer", "sgd"), loss=small_models.LOSS, **options)
    return model, small_models.batches(small_models.full_data(), 20)


def test_gradients_are_clipped_on_each_replica():
    """_optimizers/internals.py: apply_global"""
    weights = []
    for strategy in (tf.distribute.get_strategy(), mtl.distribute.strategy("mirrored")):
        with strategy.scope():
            model = small_models.model(keras.Model)
            model.compile(keras.optimizers.SGD(1.0, global_clipnorm=0.01), loss=small_models.LOSS)
        model.fit(small_models.batches(small_models.full_data(), 40), verbose=0)
        weights.append(model.get_weights())
    assert small_models.largest_difference(*weights) > 1e-3


def test_several_steps_per_execution_fail_with_replicas():
    """_pipeline/step_functions.py"""
    model, data = two_replicas(steps_per_execution=2)
    with pytest.raises(Exception, match="."):
        model.fit(data, verbose=0)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_the_end_of_data_of_unknown_size_counts_as_an_iteration():
    """_pipeline/step_functions.py"""
    rows = tf.data.Dataset.from_tensor_slices(small_models.full_data(24)).filter(lambda x, y: True).batch(8)
    counts = []
    for model_class in (keras.Model, mtl.MultiTaskModel):
        model = small_models.model(model_class)
        model.compile("adam", loss=small_models.LOSS, jit_compile=False)
        model.fit(rows, epochs=2, verbose=0)
        counts.append(int(model.optimizer.iterations))
    assert counts == [8, 6]


@pytest.mark.slow
def test_logs_fail_on_several_workers(tmp_path):
    """_pipeline/step_functions.py"""
    script = """
import keras, small_models, tensorflow as tf, tf_mtl as mtl
with mtl.distribute.strategy("multi_worker").scope():
    model = small_models.model(keras.Model)
    model.compile("sgd", loss=small_models.LOSS)
model._maybe_symbolic_build = lambda *args, **kwargs: None
model.fit(small_models.batches(small_models.full_data()), verbose=0)
"""
    (tmp_path / "script.py").write_text(script)
    workers = processes.start_workers(2, tmp_path / "script.py")
    errors = [worker.communicate(timeout=120)[1] for worker in workers]
    assert all(worker.returncode for worker in workers)
    assert "reduction_indices" in errors[0]


def test_callbacks_do_not_find_the_metrics_of_outputs():
    """_engine/directions.py"""
    model = small_models.model(keras.Model)
    model.compile("sgd", loss=small_models.LOSS, metrics={"topic": ["accuracy"], "price": ["mae"]})
    model.evaluate(*small_models.full_data(), verbose=0)
    for name in ("val_topic_accuracy", "val_topic_loss"):
        callback = keras.callbacks.EarlyStopping(name)
        callback.set_model(model)
        with pytest.raises(ValueError, match="isn't able to automatically determine"):
            callback._set_monitor_op()


def test_layers_with_names_that_are_not_ascii_fail():
    """_model.py: _check_layer_names"""
    x = keras.Input((6,))
    model = keras.Model(x, keras.layers.Dense(1, name="größe")(x))
    model.compile("sgd", loss="mse")
    with pytest.raises(Exception, match="scope name|name"):
        model.fit(np.ones((4, 6)), np.ones(4), verbose=0)


def losses_with_arguments():
    """The losses of Keras that have arguments of their own, with values other than the defaults."""
    own_values = {"axis": 0, "remove_diagonal": False, "ignore_class": 1, "from_logits": True}
    for value in vars(keras.losses).values():
        if isinstance(value, type) and issubclass(value, keras.losses.Loss) and value is not keras.losses.Loss:
            names = set(inspect.signature(value).parameters) - {"reduction", "name", "dtype"}
            if names:
                yield value(**{name: own_values.get(name, 0.25) for name in names})


@pytest.mark.parametrize("loss", list(losses_with_arguments()), ids=lambda loss: type(loss).__name__)
def test_configs_of_losses_lack_arguments(loss, tmp_path):
    """_engine/saved_losses.py"""
    incomplete = type(loss).__name__ in ("CosineSimilarity", "Huber", "SparseCategoricalCrossentropy")
    assert (loss._fn_kwargs != type(loss).from_config(loss.get_config())._fn_kwargs) == incomplete
    model = small_models.model()
    for losses in (loss, {"topic": loss, "price": "mse"}):
        model.compile("sgd", loss=losses)
        config = json.loads(json.dumps(model.get_compile_config()))
        model.compile("sgd", loss="mse")
        model.compile_from_config(config)
        assert model.losses_by_task["topic"]._fn_kwargs == loss._fn_kwargs
