"""Weights and directions compared with independent solvers, and losses compared with values computed by hand."""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.balancing import _pcgrad as pcgrad

CASES = json.loads((Path(__file__).parent / "known_answers.json").read_text())["cases"]
MAKE_METHOD = {
    "UPGrad": mtl.balancing.UPGrad,
    "DualProj": mtl.balancing.DualProj,
    "MGDA": mtl.balancing.MGDA,
    "NashMTL": lambda: mtl.balancing.NashMTL(max_norm=None),
    "FairGrad(alpha=0.5)": lambda: mtl.balancing.FairGrad(alpha=0.5),
    "FairGrad(alpha=2)": lambda: mtl.balancing.FairGrad(alpha=2.0),
    "AlignedMTL(min)": lambda: mtl.balancing.AlignedMTL(scale="min"),
    "AlignedMTL(median)": lambda: mtl.balancing.AlignedMTL(scale="median"),
    "AlignedMTL(rmse)": lambda: mtl.balancing.AlignedMTL(scale="rmse"),
    "IMTLGrad": mtl.balancing.IMTLGrad,
    "CAGrad(c=0.4, rescale=0)": lambda: mtl.balancing.CAGrad(c=0.4, rescale=0),
    "CAGrad(c=0.5, rescale=0)": lambda: mtl.balancing.CAGrad(c=0.5, rescale=0),
}
J2 = np.array(CASES["J2"]["jacobian"])
J3 = np.array(CASES["J3"]["jacobian"])
LOSSES = np.array([0.5, 1.0, 2.0])


def gramian(jacobian):
    return jacobian @ jacobian.T


def value_and_weights(method, losses):
    losses = tf.constant(losses)
    with tf.GradientTape() as tape:
        tape.watch(losses)
        value = method(losses)
    return value.numpy(), tape.gradient(value, losses).numpy()


def assert_close(actual, expected, rtol=1e-5):
    expected = np.array(expected)
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=1e-3 * rtol * np.abs(expected).max())


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("method", MAKE_METHOD)
@pytest.mark.parametrize("case", CASES)
def test_weightings(case, method, dtype):
    jacobian = np.array(CASES[case]["jacobian"])
    weights = MAKE_METHOD[method]()(tf.constant(gramian(jacobian), dtype))
    assert weights.dtype == dtype
    assert_close(weights, CASES[case]["weights"][method])


@pytest.mark.parametrize("case", CASES)
def test_pcgrad(case):
    product = gramian(np.array(CASES[case]["jacobian"]))
    size = len(product)
    by_index = [[j for j in range(size) if j != i] for i in range(size)]
    expected = CASES[case]["weights"]
    assert_close(
        pcgrad.weights_of_projections(tf.constant(product), tf.constant(by_index)), expected["PCGrad(order by index)"]
    )
    if "PCGrad(mean over all orders)" in expected:
        orders = [
            [[j for j in order if j != i] for i in range(size)]  # rows are independent, so they can share one order
            for order in permutations(range(size))
        ]
        weights = [pcgrad.weights_of_projections(tf.constant(product), tf.constant(order)).numpy() for order in orders]
        assert_close(np.mean(weights, 0), expected["PCGrad(mean over all orders)"])


def test_pcgrad_draws_every_order_equally_often():
    seeds = tf.stack([tf.range(3000, dtype=tf.int64), tf.ones(3000, tf.int64)], 1)

    @tf.function
    def orders_of(seeds):
        return tf.map_fn(lambda seed: pcgrad.orders_of_others(3, seed), seeds, fn_output_signature=tf.int32)

    orders = orders_of(seeds).numpy()
    assert set(orders[:, 0].ravel()) == {1, 2}
    assert set(orders[:, 1].ravel()) == {0, 2}
    assert orders[:, 0, 0].mean() == pytest.approx(1.5, abs=0.05)
    first_of_each_other = (orders[:, 0, 0] == 1) & (orders[:, 1, 0] == 0)
    assert first_of_each_other.mean() == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("case", CASES)
def test_aggregators(case):
    jacobian = np.array(CASES[case]["jacobian"])
    expected = CASES[case]["direction"]
    assert_close(mtl.balancing.ConFIG()(jacobian), expected["ConFIG"])
    if "TrimmedMean(1)" in expected:
        assert_close(mtl.balancing.TrimmedMean(1)(jacobian), expected["TrimmedMean(1)"])
    assert_close(mtl.balancing.DBMTL(beta=0)(jacobian), jacobian.T @ CASES[case]["weights"]["DBMTL(beta=0)"])


def test_gls():
    value, weights = value_and_weights(mtl.balancing.GLS(), LOSSES)
    assert_close(value, 1.0)
    assert_close(weights, [0.666667, 0.333333, 0.166667], 1e-5)


def test_uncertainty():
    value, weights = value_and_weights(mtl.balancing.Uncertainty(), LOSSES)
    assert_close(value, 1.75)
    assert_close(weights, [0.5, 0.5, 0.5])
    assert_close(mtl.balancing.Uncertainty(initial=-0.5)(LOSSES), 2.135262)


def test_uncertainty_soft():
    _, weights = value_and_weights(mtl.balancing.UncertaintySoft(), LOSSES)
    assert_close(weights, [0.628532, 0.231224, 0.140244])


def test_scale_invariant():
    value, weights = value_and_weights(mtl.balancing.ScaleInvariant(), [0.5, 1.0, 4.0])
    assert_close(value, np.log(2.0))
    assert_close(weights, [2.0, 1.0, 0.25])


def test_imtl_loss():
    method = mtl.balancing.IMTLLoss()
    method.build((3,))
    method.log_scales.assign([0.5, 0.0, -1.0])
    value, weights = value_and_weights(method, LOSSES)
    assert_close(weights, np.exp([0.5, 0.0, -1.0]))
    assert_close(value, np.exp([0.5, 0.0, -1.0]) @ LOSSES + 0.5)


def test_dwa():
    method = mtl.balancing.DWA()
    for losses in ([1.2, 1.0, 0.9], [0.8, 1.0, 1.1]):  # the means are 1
        _, weights = value_and_weights(method, losses)
        assert_close(weights, [1, 1, 1])
    method.end_epoch()
    _, weights = value_and_weights(method, [0.5, 0.8, 0.9])
    assert_close(weights, [1, 1, 1])
    method.end_epoch()
    _, weights = value_and_weights(method, LOSSES)
    assert_close(weights, [0.886725, 1.030227, 1.083048])


def test_rlw():
    method = mtl.balancing.RLW(seed=1)
    weights = np.stack([value_and_weights(method, LOSSES)[1] for _ in range(500)])
    assert_close(weights.sum(1), np.ones(500))
    assert weights.min() > 0
    logits = np.log(weights) - np.log(weights).mean(1, keepdims=True)  # centred normals: variance 1 - 1/T
    assert logits.var() == pytest.approx(2 / 3, rel=0.15)
    assert logits.mean(0) == pytest.approx([0, 0, 0], abs=0.12)


def test_stch():
    preference = [1.0, 2.0, 3.0]
    value, weights = value_and_weights(mtl.balancing.STCH(mu=0.5, ideal=0.1, preference=preference), LOSSES)
    scaled = np.array([0.5, 1.0, 1.5]) * (LOSSES - 0.1) / 0.5
    assert_close(value, 0.5 * np.log(np.exp(scaled).sum()))
    assert_close(weights, np.array([0.5, 1.0, 1.5]) * np.exp(scaled) / np.exp(scaled).sum())
    assert_close(mtl.balancing.STCH(mu=0.01)(LOSSES), 2.0)


def test_stch_uses_the_weighted_sum_during_the_warm_up():
    method = mtl.balancing.STCH(warmup_epochs=1)
    assert_close(method(LOSSES), 3.5)
    method.end_epoch()
    assert_close(method(LOSSES), np.log(np.exp(LOSSES).sum()))


def test_famo_over_two_steps():
    method = mtl.balancing.FAMO()
    value, weights = value_and_weights(method, LOSSES)
    assert_close(weights, [0.571429, 0.285714, 0.142857])
    assert value == pytest.approx(0, abs=1e-6)  # the logarithms cancel
    method.observe(tf.constant([0.45, 0.95, 1.5]))
    assert_close(tf.nn.softmax(method.logits.value), [0.338842, 0.338842, 0.322316])
    method(LOSSES)
    method.observe(tf.constant([0.40, 0.97, 1.2]))
    assert_close(tf.nn.softmax(method.logits.value), [0.344156, 0.343997, 0.311847])


def test_grad_norm():
    method = mtl.balancing.GradNorm()
    norms = np.linalg.norm(J2, axis=1)
    targets, slope = method.imbalance(tf.ones(2, tf.float64), tf.constant(norms), tf.constant([0.5, 0.8], tf.float64))
    assert_close(targets, [3.510612, 7.104979])
    assert_close(np.abs(norms - targets).sum(), 1.672594)
    assert_close(slope, norms * [1, -1])
    for losses in ([2.0, 3.0], [1.0, 2.4], [1.0, 1.0]):  # L / L(0) = 1 at first, so the longer gradient shrinks
        weights = method(gramian(J2), losses=np.array(losses)).numpy()
    expected = np.ones(2)
    for step, progress in enumerate([[1, 1], [0.5, 0.8]], 1):
        scaled = expected * norms
        rates = np.array(progress) / np.mean(progress)
        gradient = np.sign(scaled - scaled.mean() * rates**1.5) * norms
        if step == 1:
            mean, square = 0.1 * gradient, 0.001 * gradient**2
        else:
            mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        expected = expected - 0.025 * mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        expected *= 2 / expected.sum()
    assert_close(weights, expected)


@pytest.mark.parametrize("normalization", ["none", "l2", "loss", "loss+"])
def test_mgda_normalizations(normalization):
    losses = np.array([0.5, 2.0])
    norms = np.linalg.norm(J2, axis=1)
    scale = {"none": np.ones(2), "l2": norms, "loss": losses, "loss+": norms * losses}[normalization]
    a, b = J2 / scale[:, None]
    weight = np.clip((b - a) @ b / ((a - b) @ (a - b)), 0, 1)  # the closed form for two tasks
    assert_close(mtl.balancing.MGDA(normalization)(gramian(J2), losses=losses), [weight, 1 - weight])


def test_preferences():
    """Computed by hand for orthogonal gradients of lengths 2 and 1, with the importance 3 to 1."""
    product = np.diag([4.0, 1.0])
    for method in (mtl.balancing.UPGrad, mtl.balancing.DualProj):
        assert_close(method(preference=[3, 1])(product), [0.75, 0.25])
    assert_close(mtl.balancing.AlignedMTL(preference=[3, 1])(product), [0.375, 0.25])
    direction = mtl.balancing.ConFIG(preference=[3, 1])(np.array([[2.0, 0], [0, 1]]))
    unit = np.array([3, 1]) / np.sqrt(10)
    assert_close(direction, unit * (2 * unit[0] + unit[1]))
    assert_close(mtl.balancing.SDMGrad(lam=1e9, preference=[3, 1])(product), [0.75, 0.25])


def test_imtl_balances_losses_and_gradients():
    method = mtl.balancing.IMTL()
    assert_close(method(gramian(J2)), CASES["J2"]["weights"]["IMTLGrad"])
    method.log_scales.assign([0.5, -0.5])
    assert_close(method.transform(tf.constant([2.0, 3.0])), [2 * np.exp(0.5) - 0.5, 3 * np.exp(-0.5) + 0.5])


def test_cagrad_rescale():
    plain = mtl.balancing.CAGrad(c=0.5, rescale=0)(gramian(J3)).numpy()
    assert_close(mtl.balancing.CAGrad(c=0.5, rescale=1)(gramian(J3)), plain / 1.25)
    assert_close(mtl.balancing.CAGrad(c=0.5, rescale=2)(gramian(J3)), plain / 1.5)


@pytest.mark.parametrize("max_norm", [0.5, 1.0, 100.0])
def test_nash_mtl_limits_the_length_of_the_direction(max_norm):
    unlimited = np.array(CASES["J3"]["weights"]["NashMTL"])
    length = np.linalg.norm(J3.T @ unlimited)
    assert length == pytest.approx(np.sqrt(3))
    assert_close(mtl.balancing.NashMTL(max_norm)(gramian(J3)), unlimited * min(1, max_norm / length))
