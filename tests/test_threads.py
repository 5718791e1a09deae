"""What other threads may do with a model while one trains or evaluates it."""

import threading

import keras
import numpy as np
import pytest
import small_models

import tf_mtl as mtl

X, Y = small_models.full_data()


def compiled(**options):
    keras.utils.set_random_seed(3)
    x = keras.Input((6,))
    h = keras.layers.Dense(8, activation="relu")(x)
    model = mtl.MultiTaskModel(x, {task: keras.layers.Dense(1, name=task)(h) for task in Y})
    model.compile(loss="mse", metrics={task: ["mae"] for task in Y}, **options)
    return model


class InTheMiddle(keras.callbacks.Callback):
    """Calls a function in another thread after a batch, and waits for its result or error."""

    def __init__(self, call):
        super().__init__()
        self.call = call

    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            thread = threading.Thread(target=self._run)
            thread.start()
            thread.join()

    on_test_batch_end = on_train_batch_end

    def _run(self):
        self.result = self.error = None
        try:
            self.result = self.call(self.model)
        except Exception as error:
            self.error = error


CALLS = {
    "fit": lambda model: model.fit(X, Y, verbose=0),
    "evaluate": lambda model: model.evaluate(X, Y, verbose=0),
    "train_on_batch": lambda model: model.train_on_batch(X, Y),
    "test_on_batch": lambda model: model.test_on_batch(X, Y),
    "compile": lambda model: model.compile(loss="mse"),
}


def fit(model, *callbacks):
    return model.fit(X, Y, batch_size=8, shuffle=False, verbose=0, callbacks=list(callbacks)).history


@pytest.mark.parametrize("method", CALLS)
def test_other_threads_do_not_disturb_fit(method):
    model, callback = compiled(), InTheMiddle(CALLS[method])
    history = fit(model, callback)
    assert isinstance(callback.error, RuntimeError)
    assert f"`{method}` was called while `fit` runs in another thread" in str(callback.error)
    assert history == fit(compiled())
    CALLS[method](model)  # when `fit` has returned


def test_other_threads_do_not_disturb_evaluate():
    model, callback = compiled(), InTheMiddle(CALLS["evaluate"])
    expected = model.evaluate(X, Y, batch_size=8, verbose=0)
    assert model.evaluate(X, Y, batch_size=8, verbose=0, callbacks=[callback]) == expected
    assert "`evaluate` was called while `evaluate` runs" in str(callback.error)


def test_the_thread_of_fit_may_evaluate():
    class Evaluate(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.results = self.model.evaluate(X, Y, verbose=0)

    callback = Evaluate()
    model = compiled()
    fit(model, callback)
    assert callback.results == model.evaluate(X, Y, verbose=0)


def test_another_thread_may_predict_during_fit():
    """It makes the function that predicts, and changes nothing of training."""

    def predict(model):
        return model.predict(X, verbose=0), model.get_weights()

    callback = InTheMiddle(predict)
    assert fit(compiled(), callback) == fit(compiled())
    assert callback.error is None
    predictions, weights = callback.result
    model = compiled()
    model.set_weights(weights)
    for task, values in model.predict(X, verbose=0).items():
        np.testing.assert_allclose(predictions[task], values, rtol=1e-6)


def test_another_thread_may_not_predict_on_several_replicas():
    with mtl.distribute.strategy("mirrored").scope():
        model = compiled()
    callback = InTheMiddle(lambda model: model.predict(X, verbose=0))
    fit(model, callback)
    assert "`predict` was called while `fit` runs in another thread" in str(callback.error)
    assert model.predict(X, verbose=0).keys() == Y.keys()


def test_a_failure_does_not_leave_the_model_locked():
    model = compiled()
    with pytest.raises(ValueError, match="must have one entry per task"):
        model.fit(X, {"topic": Y["topic"]}, verbose=0)
    callback = InTheMiddle(CALLS["evaluate"])
    callback.set_model(model)
    callback.on_train_batch_end(2)
    assert callback.error is None
