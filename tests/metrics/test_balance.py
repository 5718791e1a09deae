"""What balancing logs."""

import keras
import numpy as np
import pytest
import small_models

import tf_mtl as mtl
from tf_mtl._engine.balancing_log import BalancingLog


@keras.saving.register_keras_serializable("tests")
class Counting(mtl.balancing.Weighting):
    """Weights 1, 2, 3, ... for the first task, step by step, and 1/2 for the second."""

    def build(self, input_shape):
        self.step = self.add_state("step", ())

    def call(self, gramian, losses=None):
        self.step.assign(self.step + 1)
        return [self.step + 0.0, self.step * 0.0 + 0.5]


def test_weights_are_epoch_means_and_only_in_training_logs(tmp_path):
    epoch_logs, weights_by_batch = [], []
    model = small_models.model()
    model.compile("sgd", loss=small_models.LOSS, balancing=Counting())
    collect = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: epoch_logs.append(dict(logs)),
        on_train_batch_end=lambda batch, logs: weights_by_batch.append(float(logs["weight/topic"])),
    )
    board = keras.callbacks.TensorBoard(tmp_path)
    data = small_models.batches(small_models.full_data())  # five steps
    history = model.fit(data, epochs=2, verbose=0, validation_data=data, callbacks=[collect, board]).history
    assert history["weight/topic"] == pytest.approx([3.0, 8.0])
    assert history["weight/price"] == pytest.approx([0.5, 0.5])
    assert epoch_logs[1]["weight/topic"] == pytest.approx(8.0)
    assert weights_by_batch == pytest.approx([1, 1.5, 2, 2.5, 3, 6, 6.5, 7, 7.5, 8])
    assert {name for name in history if name.startswith("val_")} == {"val_loss", "val_topic_loss", "val_price_loss"}
    assert set(model.evaluate(data, verbose=0, return_dict=True)) == {"loss", "topic_loss", "price_loss"}
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*tfevents*"))
    for name in (b"epoch_weight/topic", b"epoch_cosine/topic/price", b"epoch_conflict"):
        assert name in written


def test_what_each_kind_of_balancing_logs():
    logged_names = {}
    for method in ("equal", small_models.LearnedWeights(), small_models.InverseNorm(), small_models.Normalised()):
        model = small_models.model()
        model.compile("sgd", loss=small_models.LOSS, balancing=method)
        history = model.fit(*small_models.full_data(), verbose=0).history
        logged_names[getattr(method, "name", method)] = {name for name in history if "loss" not in name}
    weights, cosines = {"weight/topic", "weight/price"}, {"cosine/topic/price", "conflict"}
    assert logged_names == {
        "equal": set(),
        "learnedweights": weights,
        "inversenorm": weights | cosines,
        "normalised": cosines,
    }


def test_cosines_by_hand():
    metric = BalancingLog(("a", "b", "c"), weights=True, cosines=True)
    rows = np.array([[1.0, 0], [0, 2], [-3, 4]], "float32")
    metric.update_state([1.0, 2.0, 3.0], rows @ rows.T)
    rows[1] = 0  # without labels, so this step does not count for the task
    metric.update_state([3.0, 2.0, 1.0], rows @ rows.T)
    logs = {name: float(value) for name, value in metric.result().items()}
    assert logs["weight/a"] == 2
    assert logs["cosine/a/b"] == 0
    assert logs["cosine/b/c"] == pytest.approx(0.8)
    assert logs["cosine/a/c"] == pytest.approx(-0.6)
    assert logs["conflict"] == pytest.approx((1 / 3 + 1) / 2)


def test_many_tasks_log_the_conflict_but_no_cosines():
    metric = BalancingLog(tuple("abcde"), weights=False, cosines=True)
    metric.update_state(None, np.eye(5, dtype="float32"))
    assert set(metric.result()) == {"conflict"}
