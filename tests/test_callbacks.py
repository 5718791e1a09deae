import examples
import keras
import numpy as np
import pytest

import tf_mtl as mtl


def test_task_weights_are_logged_as_the_mean_of_an_epoch():
    seen = []

    class Counting(mtl.balancing.Weighting):
        """Weights 1, 2, 3, ... for the first task, step by step."""

        def build(self, input_shape):
            self.step = self.add_state("step", ())

        def call(self, gramian, losses=None):
            self.step.assign(self.step + 1)
            return [self.step + 0.0, self.step * 0.0 + 0.5]

    model = examples.model()
    model.compile("sgd", loss=examples.LOSS, balancing=Counting())
    collect = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(dict(logs)))
    data = examples.batches(examples.full_data())  # five steps
    history = model.fit(data, epochs=2, verbose=0, callbacks=[mtl.callbacks.TaskWeights(), collect]).history
    assert history["weight/topic"] == pytest.approx([3.0, 8.0])
    assert history["weight/price"] == pytest.approx([0.5, 0.5])
    assert seen[1]["weight/topic"] == pytest.approx(8.0)  # callbacks behind it see it as well


def test_directions_have_no_weights():
    model = examples.model()
    model.compile("sgd", loss=examples.LOSS, balancing=examples.Normalised())
    logs = model.fit(*examples.full_data(), verbose=0, callbacks=[mtl.callbacks.TaskWeights()]).history
    assert not [name for name in logs if name.startswith("weight")]


def three_tasks(heads):
    """One shared weight u = 1 and fixed heads: the gradient of task t is heads[t] times a positive number."""
    x = keras.Input((1,))
    h = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="u")(x)
    outputs = {
        task: keras.layers.Dense(
            1, use_bias=False, kernel_initializer=keras.initializers.Constant(value), trainable=False, name=task
        )(h)
        for task, value in heads.items()
    }
    model = mtl.MultiTaskModel(x, outputs)
    model.compile(keras.optimizers.SGD(0.0), loss=lambda y, p: p[:, 0] + 0 * y[:, 0])
    return model


def test_conflict_is_the_share_of_opposed_pairs():
    model = three_tasks({"a": 1.0, "b": 2.0, "c": -1.0})
    x, y = np.ones((4, 1), "float32"), {task: np.zeros(4, "float32") for task in "abc"}
    logs = model.fit(x, y, verbose=0, callbacks=[mtl.callbacks.GradientConflict((x, y))]).history
    assert logs["conflict"] == [pytest.approx(2 / 3)]
    assert logs["cosine/a/b"] == [pytest.approx(1.0)]
    assert logs["cosine/a/c"] == [pytest.approx(-1.0)]


def test_tasks_without_labels_in_the_batch_do_not_count():
    model = three_tasks({"a": 1.0, "b": 2.0, "c": -1.0})
    x, y = np.ones((4, 1), "float32"), {task: np.zeros(4, "float32") for task in "abc"}
    batch = x, y, {"c": np.zeros(4, "float32")}
    logs = model.fit(x, y, verbose=0, callbacks=[mtl.callbacks.GradientConflict(batch)]).history
    assert logs["conflict"] == [0.0]
    assert np.isnan(logs["cosine/a/c"][0])


def test_a_graph_that_shares_nothing_is_refused():
    x = keras.Input((1,))
    model = mtl.MultiTaskModel(x, {t: keras.layers.Dense(1)(x) for t in "ab"})
    model.compile("sgd", loss="mse")
    batch = np.ones((2, 1)), {t: np.zeros(2) for t in "ab"}
    with pytest.raises(ValueError, match="nothing trainable is shared"):
        model.fit(*batch, verbose=0, callbacks=[mtl.callbacks.GradientConflict(batch)])
