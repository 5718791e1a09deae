"""Own methods that break the rules, and calls that do: errors before any variable changes."""

import numpy as np
import pytest
import small_models
import tensorflow as tf

import tf_mtl as mtl

B = mtl.balancing


class VectorObjective(B.Scalarizer):
    """Returns the losses."""

    def call(self, losses):
        return 2.0 * losses


class NoResult(B.Scalarizer):
    """Returns nothing."""

    def call(self, losses):
        pass


class MatrixOfWeights(B.Weighting):
    """Returns the Gramian."""

    def call(self, gramian, losses=None):
        return gramian


class OneWeight(B.Weighting):
    """Returns a scalar."""

    def call(self, gramian, losses=None):
        return tf.reduce_sum(gramian)


class WeightsOfAnAggregator(B.Aggregator):
    """Returns the sums of the rows."""

    def call(self, jacobian, losses=None):
        return tf.reduce_sum(jacobian, 1)


class WithoutLosses(B.Weighting):
    """Does not take the losses."""

    def call(self, gramian):
        return tf.linalg.diag_part(gramian)


@pytest.mark.parametrize(
    ("method", "rule"),
    [
        (VectorObjective, r"a scalar, the objective.*shape \(\) for values of shape \(2,\).*Received the shape \(2,\)"),
        (NoResult, "a scalar, the objective.*Received None"),
        (MatrixOfWeights, r"weights \[T\].*shape \(2,\).*Received the shape \(2, 2\)"),
        (OneWeight, r"weights \[T\].*shape \(2,\).*Received the shape \(\)"),
        (WeightsOfAnAggregator, r"a direction \[P\].*shape \(56,\).*Received the shape \(2,\)"),
    ],
)
def test_results_of_the_wrong_shape(method, rule):
    model = small_models.model()
    model.compile("sgd", loss=small_models.LOSS, balancing=method())
    before = model.get_weights()
    with pytest.raises(ValueError, match=f"`call` of {method.__name__} must return {rule}.*Fix `call`"):
        model.fit(*small_models.full_data(), verbose=0)
    assert small_models.largest_difference(before, model.get_weights()) == 0


@pytest.mark.parametrize("method", [WithoutLosses, lambda: B.EMA(WithoutLosses())])
def test_a_call_without_losses(method):
    model = small_models.model()
    with pytest.raises(
        TypeError, match=r"`call` of WithoutLosses must take `losses`.*\['gramian'\]. Add `losses=None`"
    ):
        model.compile("sgd", loss=small_models.LOSS, balancing=method())


@pytest.mark.parametrize(
    ("method", "call"),
    [
        (B.GLS, np.ones),
        (B.Uncertainty, np.ones),
        (lambda: B.Fixed([1.0, 1.0]), np.ones),
        (B.UPGrad, np.eye),
        (lambda: B.EMA(B.MGDA()), np.eye),
        (B.ConFIG, np.eye),
        (B.MoCo, np.eye),
    ],
)
def test_another_number_of_tasks(method, call):
    made = method()
    made(call(2))
    made(call(2))
    message = rf"This {type(made).__name__} object balances 2 tasks, .* for 3. Create a new object"
    with pytest.raises(ValueError, match=message):
        made(call(3))


def test_another_number_of_tasks_than_the_models():
    model = small_models.model()
    model.compile("sgd", loss=small_models.LOSS, balancing="gls")
    with pytest.raises(ValueError, match="This GLS object balances 2 tasks"):
        model.balancing([1.0, 1.0, 1.0])
