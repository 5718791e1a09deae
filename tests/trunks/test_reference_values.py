"""Each trunk's forward pass and penalties against NumPy, from the papers' formulas."""

import itertools
import re

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.trunks._dselect_k import smooth_step
from tf_mtl.trunks._learning_to_branch import Branch

TASKS = ["a", "b"]
SHAPES = pytest.mark.parametrize(("shape", "key"), [((5,), "pooled"), ((3, 5), "sequence")])


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis=-1):
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def randomize(model, rng):
    """Give every variable but seeds and temperatures a value far from its initial one."""
    for v in model.variables:
        if v.name == "moving_variance":
            v.assign(rng.uniform(0.5, 2, v.shape))
        elif v.trainable or v.name == "moving_mean":
            v.assign(rng.normal(0, 0.6, v.shape))
    return model


def features_model(trunk, shape=(5,), key="pooled", tasks=TASKS):
    x = keras.Input(shape)
    return keras.Model(x, {task: features[key] for task, features in trunk(x, tasks).items()})


def regressions(trunk, rng, tasks=TASKS):
    model = mtl.build_model(keras.Input((5,)), trunk, [mtl.tasks.Regression(task) for task in tasks])
    return randomize(model, rng)


def logged_penalties(model, x, rng):
    """Return `loss` minus the sum of the tasks' losses, from `evaluate` and from the first step of `fit`."""
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    y = {task: rng.normal(size=(len(x), 1)) for task in model.task_names}
    evaluated = model.evaluate(x, y, batch_size=len(x), verbose=0, return_dict=True)
    fitted = {name: values[0] for name, values in model.fit(x, y, batch_size=len(x), verbose=0).history.items()}
    return [logs["loss"] - sum(logs[f"{task}_loss"] for task in model.task_names) for logs in (evaluated, fitted)]


def layer_output(model, name, x):
    return keras.Model(model.input, model.get_layer(name).output)(x).numpy()


def weights(model, name):
    return [v.astype("float64") for v in model.get_layer(name).get_weights()]


def affine(x, values):
    kernel, bias = values
    return x @ kernel + bias


def dense(model, name, x):
    return relu(affine(x, weights(model, name)))


def gated_sum(gate, experts):
    return sum(gate[..., i, None] * expert for i, expert in enumerate(experts))


def assert_close(actual, expected, rtol=2e-5, atol=2e-5):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


def dense_stack(*units):
    return [keras.layers.Dense(n, "relu", name=f"d{i}") for i, n in enumerate(units)]


def test_hard_sharing_gives_all_tasks_the_encoder(rng):
    model = randomize(features_model(mtl.trunks.HardSharing(dense_stack(4, 3))), rng)
    x = rng.normal(size=(6, 5))
    actual, expected = model(x), dense(model, "d1", dense(model, "d0", x))
    for task in TASKS:
        assert_close(actual[task], expected)


# Soft sharing


def tensors_by_task(model, tasks, names=("d0", "d1")):
    """Return [T, D] for each weight tensor of the encoder."""
    by_task = [[v.ravel() for name in names for v in weights(model, f"{name}_{task}")] for task in tasks]
    return [np.stack(tensors) for tensors in zip(*by_task, strict=True)]


def nuclear_norm(rows):
    return np.linalg.svd(rows.T, compute_uv=False).sum()


SOFT_PENALTIES = {
    "mean": lambda rows: sum(((row - rows.mean(0)) ** 2).sum() for row in rows),
    "pairs": lambda rows: sum(((one - other) ** 2).sum() for one, other in itertools.combinations(rows, 2)),
    "trace_norm": nuclear_norm,
}


def test_soft_sharing_runs_an_encoder_per_task(rng):
    model = randomize(features_model(mtl.trunks.SoftSharing(dense_stack(4, 3))), rng)
    x = rng.normal(size=(6, 5))
    actual = model(x)
    for task in TASKS:
        assert_close(actual[task], dense(model, f"d1_{task}", dense(model, f"d0_{task}", x)))


@pytest.mark.parametrize("built", [False, True])
def test_soft_sharing_copies_start_equal(built, rng):
    encoder = dense_stack(4)
    if built:
        encoder[0].build((None, 5))
        encoder[0].set_weights([rng.normal(size=v.shape) for v in encoder[0].weights])
    model = features_model(mtl.trunks.SoftSharing(encoder), tasks=["a", "b", "c"])
    start = encoder[0].get_weights() if built else weights(model, "d0_a")
    for task in "abc":
        for actual, expected in zip(weights(model, f"d0_{task}"), start, strict=True):
            np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("kind", SOFT_PENALTIES)
def test_soft_sharing_penalty_reaches_the_loss(kind, rng):
    tasks = ["a", "b", "c"]
    model = regressions(mtl.trunks.SoftSharing(dense_stack(4, 3), kind, strength=0.3), rng, tasks)
    expected = 0.3 * sum(SOFT_PENALTIES[kind](rows) for rows in tensors_by_task(model, tasks))
    assert_close(sum(model.losses), expected)
    assert_close(logged_penalties(model, rng.normal(size=(6, 5)), rng), [expected] * 2, rtol=1e-4)


def trace_norm_gradient(model, name):
    variable = model.get_layer(name).kernel.value
    with tf.GradientTape() as tape:
        penalty = model.trunk.penalty(model)
    return tape.gradient(penalty, variable).numpy()


def test_trace_norm_gradient_against_finite_differences(rng):
    tasks, step = ["a", "b", "c"], 1e-5
    model = regressions(mtl.trunks.SoftSharing(dense_stack(4), "trace_norm", strength=0.3), rng, tasks)
    rows = np.stack([weights(model, f"d0_{task}")[0].ravel() for task in tasks])
    expected = np.zeros_like(rows)
    for index in np.ndindex(*rows.shape):
        change = np.zeros_like(rows)
        change[index] = step
        expected[index] = 0.3 * (nuclear_norm(rows + change) - nuclear_norm(rows - change)) / (2 * step)
    for task, gradient in zip(tasks, expected, strict=True):
        assert_close(trace_norm_gradient(model, f"d0_{task}").ravel(), gradient, rtol=1e-3, atol=1e-4)


def test_trace_norm_gradient_of_equal_copies(rng):
    model = mtl.build_model(
        keras.Input((5,)),
        mtl.trunks.SoftSharing(dense_stack(4), "trace_norm", strength=1.0),
        [mtl.tasks.Regression(task) for task in TASKS],
    )
    kernel = weights(model, "d0_a")[0]
    for task in TASKS:  # U V^T of a matrix of rank 1
        expected = kernel / np.linalg.norm(kernel) / np.sqrt(2)
        assert_close(trace_norm_gradient(model, f"d0_{task}"), expected, rtol=1e-3, atol=1e-3)


# Hierarchical


@pytest.mark.parametrize("shortcut", [False, True])
def test_hierarchical_levels_and_shortcut(shortcut, rng):
    tasks = ["low", "middle", "high", "top"]
    levels = dict(zip(tasks, range(4), strict=True))
    model = features_model(mtl.trunks.Hierarchical(dense_stack(3, 4, 2, 3), levels, shortcut), tasks=tasks)
    randomize(model, rng)
    x = rng.normal(size=(6, 5))
    actual = model(x)
    outputs = [x]
    for level in range(4):
        x = np.concatenate([outputs[-1], outputs[1]], -1) if shortcut and level >= 2 else outputs[-1]
        outputs.append(dense(model, f"d{level}", x))
    for task in tasks:
        assert_close(actual[task], outputs[levels[task] + 1])


# Cross-stitch and sluice


@SHAPES
def test_cross_stitch_mixes_after_each_stage(shape, key, rng):
    tasks = ["a", "b", "c"]
    model = randomize(features_model(mtl.trunks.CrossStitch(dense_stack(4, 3)), shape, key, tasks), rng)
    x = rng.normal(size=(6, *shape))
    actual = model(x)
    outputs = [x] * 3
    for level in range(2):
        outputs = [dense(model, f"d{level}_{task}", out) for task, out in zip(tasks, outputs, strict=True)]
        (alpha,) = weights(model, f"cross_stitch_{level}")
        outputs = [sum(alpha[t, s] * outputs[s] for s in range(3)) for t in range(3)]
    for task, expected in zip(tasks, outputs, strict=True):
        assert_close(actual[task], expected)


def test_cross_stitch_starts_at_own_weight():
    model = features_model(mtl.trunks.CrossStitch(dense_stack(4)), tasks=["a", "b", "c"])
    assert_close(weights(model, "cross_stitch_0")[0], np.full((3, 3), 0.05) + 0.85 * np.eye(3))


def test_cross_stitch_with_own_weight_1_is_separate_networks(rng):
    model = features_model(mtl.trunks.CrossStitch(dense_stack(4, 3), own_weight=1))
    x = rng.normal(size=(6, 5))
    for level, task in itertools.product(range(2), TASKS):
        layer = model.get_layer(f"d{level}_{task}")
        layer.set_weights([rng.normal(size=v.shape) for v in layer.weights])
    actual = model(x)
    for task in TASKS:
        assert_close(actual[task], dense(model, f"d1_{task}", dense(model, f"d0_{task}", x)))


@SHAPES
def test_sluice_mixes_subspaces_and_sums_levels(shape, key, rng):
    trunk = mtl.trunks.Sluice(dense_stack(6, 4, 4), subspaces=2)
    model = randomize(features_model(trunk, shape, key), rng)
    x = rng.normal(size=(6, *shape))
    actual = model(x)
    outputs, levels = [x, x], []
    for level in range(3):
        outputs = [dense(model, f"d{level}_{task}", out) for task, out in zip(TASKS, outputs, strict=True)]
        half = outputs[0].shape[-1] // 2
        parts = [part for out in outputs for part in (out[..., :half], out[..., half:])]
        (alpha,) = weights(model, f"sluice_{level}")
        mixed = [sum(alpha[i, j] * parts[j] for j in range(4)) for i in range(4)]
        outputs = [np.concatenate(mixed[:2], -1), np.concatenate(mixed[2:], -1)]
        levels.append(outputs)
    for t, task in enumerate(TASKS):
        (beta,) = weights(model, f"levels_{task}")
        assert_close(actual[task], beta[0] * levels[1][t] + beta[1] * levels[2][t])


def test_sluice_starts_at_own_weight_and_the_mean_of_levels():
    model = features_model(mtl.trunks.Sluice(dense_stack(4, 4, 4), own_weight=0.7))
    assert_close(weights(model, "sluice_1")[0], np.full((4, 4), 0.1) + 0.6 * np.eye(4))
    assert_close(weights(model, "levels_b")[0], np.full(3, 1 / 3))


def overlap(kernel, subspaces):
    """Return the sum over pairs of ||W_g^T W_h||_F^2 / width^2, with W_g a slice of the kernel's last axis."""
    width = kernel.shape[-1] // subspaces
    matrix = kernel.reshape(-1, kernel.shape[-1])
    parts = [matrix[:, i * width : (i + 1) * width] for i in range(subspaces)]
    return sum(((g.T @ h) ** 2).sum() for g, h in itertools.combinations(parts, 2)) / width**2


@pytest.mark.parametrize("subspaces", [1, 2, 3])
def test_sluice_penalty_reaches_the_loss(subspaces, rng):
    model = regressions(mtl.trunks.Sluice(dense_stack(6, 6), subspaces, orthogonality=0.2), rng)
    names = [f"d{level}_{task}" for level in range(2) for task in TASKS]
    expected = 0.2 * sum(overlap(weights(model, name)[0], subspaces) for name in names)
    assert_close(sum(model.losses), expected)
    assert_close(logged_penalties(model, rng.normal(size=(6, 5)), rng), [expected] * 2, rtol=1e-4)


@pytest.mark.parametrize(
    ("layer", "gates"),
    [
        (keras.layers.Conv1D(4, 2, padding="same", name="d"), 1),
        (keras.layers.LSTM(4, return_sequences=True, name="d"), 4),
        (keras.layers.GRU(4, return_sequences=True, name="d"), 3),
    ],
    ids=["Conv1D", "LSTM", "GRU"],
)
def test_sluice_penalty_of_other_layers(layer, gates, rng):
    trunk = mtl.trunks.Sluice([layer], orthogonality=1.0)
    model = randomize(features_model(trunk, (3, 5)), rng)
    expected = 0
    for task in TASKS:
        *kernels, _ = weights(model, f"d_{task}")  # the last one is the bias
        expected += sum(overlap(kernel.reshape(*kernel.shape[:-1], gates, 4), 2) for kernel in kernels)
    assert_close(trunk.penalty(model), expected)


# Mixture-of-experts trunks


def expert(width=4):
    return keras.layers.Dense(width, "relu", name="e")


@SHAPES
def test_mmoe_mixes_experts_by_softmax_gates(shape, key, rng):
    trunk = mtl.trunks.MMoE(dense_stack(6), expert(), experts=3)
    model = randomize(features_model(trunk, shape, key), rng)
    x = rng.normal(size=(6, *shape))
    actual = model(x)
    h = dense(model, "d0", x)
    experts = [dense(model, f"e_expert_{i}", h) for i in range(3)]
    for task in TASKS:
        (kernel,) = weights(model, f"gate_{task}")
        gate = layer_output(model, f"gate_{task}", x)
        assert_close(gate, softmax(h @ kernel))
        assert_close(gate.sum(-1), np.ones(gate.shape[:-1]))
        assert_close(actual[task], gated_sum(gate, experts))


@pytest.mark.parametrize("built", [False, True])
def test_experts_start_with_different_weights(built):
    layer = expert()
    if built:
        layer.build((None, 5))
    model = features_model(mtl.trunks.MMoE(keras.layers.Identity(), layer, experts=3))
    kernels = [weights(model, f"e_expert_{i}")[0] for i in range(3)]
    assert all(np.abs(one - other).max() > 0.01 for one, other in itertools.combinations(kernels, 2))


def test_mmoe_pools_after_mixing_tokens(rng):
    x = keras.Input((3, 5))
    features = mtl.trunks.MMoE(dense_stack(6), expert(), experts=3)(x, TASKS)
    model = randomize(keras.Model(x, features), rng)
    actual = model(rng.normal(size=(6, 3, 5)))
    for task in TASKS:
        assert_close(actual[task]["pooled"], actual[task]["sequence"].numpy().mean(1))


def test_mmoe_mixes_each_feature_of_an_encoder(rng):
    x = keras.Input((3, 5))
    encoder = keras.Model(x, {"pooled": x[:, 0], "sequence": x})
    trunk = mtl.trunks.MMoE(encoder, expert(), experts=3)
    model = randomize(keras.Model(x, trunk(x, TASKS)), rng)
    data = rng.normal(size=(6, 3, 5))
    actual = model(data)
    for task, (key, h) in itertools.product(TASKS, {"pooled": data[:, 0], "sequence": data}.items()):
        (kernel,) = weights(model, f"gate_{task}")
        experts = [dense(model, f"e_expert_{i}", h) for i in range(3)]
        assert_close(actual[task][key], gated_sum(softmax(h @ kernel), experts))


def test_towers_read_the_gated_sums(rng):
    trunk = mtl.trunks.MMoE(keras.layers.Identity(), expert(), experts=2, tower=keras.layers.Dense(3, name="t"))
    model = randomize(features_model(trunk), rng)
    x = rng.normal(size=(6, 5))
    actual = model(x)
    for task in TASKS:
        mixed = layer_output(model, f"mixture_{task}", x)
        assert_close(actual[task], affine(mixed, weights(model, f"t_tower_{task}")))


def level_experts(model, name, owner, number, x):
    return [dense(model, f"e_{name}_{owner}_{i}", x) for i in range(number)]


def level_gate(model, name, owner, x):
    (kernel,) = weights(model, f"gate_{name}_{owner}")
    return softmax(x @ kernel)


@SHAPES
def test_cgc_mixes_own_and_shared_experts(shape, key, rng):
    trunk = mtl.trunks.CGC(dense_stack(6), expert(), task_experts=2, shared_experts=3)
    model = randomize(features_model(trunk, shape, key), rng)
    x = rng.normal(size=(6, *shape))
    actual = model(x)
    h = dense(model, "d0", x)
    shared = level_experts(model, "cgc", "shared", 3, h)
    for task in TASKS:
        gate = layer_output(model, f"gate_cgc_{task}", x)
        assert gate.shape[-1] == 5
        assert_close(gate, level_gate(model, "cgc", task, h))
        assert_close(actual[task], gated_sum(gate, [*level_experts(model, "cgc", task, 2, h), *shared]))


def test_cgc_task_reads_no_expert_of_another(rng):
    model = randomize(features_model(mtl.trunks.CGC(keras.layers.Identity(), expert())), rng)
    x = rng.normal(size=(6, 5))
    before = model(x)
    layer = model.get_layer("e_cgc_b_0")
    layer.set_weights([v + 1 for v in layer.get_weights()])
    after = model(x)
    np.testing.assert_array_equal(before["a"], after["a"])
    assert np.abs(before["b"] - after["b"]).max() > 0.1


@SHAPES
def test_ple_passes_on_task_and_shared_features(shape, key, rng):
    trunk = mtl.trunks.PLE(dense_stack(6), expert(), task_experts=2, shared_experts=3, levels=2)
    model = randomize(features_model(trunk, shape, key), rng)
    x = rng.normal(size=(6, *shape))
    actual = model(x)
    features = dict.fromkeys([*TASKS, "shared"], dense(model, "d0", x))
    for level in ("level_0", "level_1"):
        numbers = {"a": 2, "b": 2, "shared": 3}
        experts = {o: level_experts(model, level, o, n, features[o]) for o, n in numbers.items()}
        seen = {task: [*experts[task], *experts["shared"]] for task in TASKS}
        if level == "level_0":
            seen["shared"] = [*experts["a"], *experts["b"], *experts["shared"]]
        features = {o: gated_sum(level_gate(model, level, o, features[o]), outputs) for o, outputs in seen.items()}
    for task in TASKS:
        assert_close(actual[task], features[task])
    assert "gate_level_1_shared" not in [layer.name for layer in model.layers]


# DSelect-k


@pytest.mark.parametrize("gamma", [1.0, 2.5])
def test_smooth_step(gamma):
    z = tf.constant(np.array([-2, -0.5, -0.25, 0, 0.25, 0.5, 2]) * gamma)
    with tf.GradientTape() as tape:
        tape.watch(z)
        step = smooth_step(z, gamma)
    quarter = -2 / 64 + 3 / 8
    assert_close(step, [0, 0, 0.5 - quarter, 0.5, 0.5 + quarter, 1, 1])
    # -6 z^2 / gamma^3 + 3 / (2 gamma), which is 0 at both ends
    slopes = np.array([0, 0, 9 / 8, 3 / 2, 9 / 8, 0, 0]) / gamma
    assert_close(tape.gradient(step, z), slopes)


@pytest.mark.parametrize("gamma", [1.0, 2.5])
def test_smooth_step_and_its_derivative_are_continuous(gamma):
    ends = np.array([-gamma / 2, gamma / 2])
    for h in (-1e-5, 1e-5):
        z = tf.constant(ends + h)
        with tf.GradientTape() as tape:
            tape.watch(z)
            step = smooth_step(z, gamma)
        assert_close(step, [0, 1], atol=1e-8)
        assert_close(tape.gradient(step, z), [0, 0], atol=1e-4)


def selector(z, number, gamma):
    """Return r [..., N] of one selector's logits [..., digits], digit by digit."""
    s = np.where(z <= -gamma / 2, 0, np.where(z >= gamma / 2, 1, -2 * z**3 / gamma**3 + 3 * z / (2 * gamma) + 0.5))
    r = np.ones((*z.shape[:-1], number))
    for i in range(number):
        for position, digit in enumerate(reversed(f"{i:0{z.shape[-1]}b}")):
            r[..., i] *= s[..., position] if digit == "1" else 1 - s[..., position]
    return r


def selectors(model, task, x, number, gamma, per_example):
    """Return each selector's r [B or 1, N], and their weights softmax(w) [B or 1, k]."""
    gate = model.get_layer(f"gate_{task}")
    z, w = gate.z.numpy().astype("float64"), gate.w.numpy().astype("float64")
    if per_example:
        z, w = np.einsum("bd,dkm->bkm", x, z), x @ w
    else:
        z, w = z[None], w[None]
    return [selector(z[:, j], number, gamma) for j in range(z.shape[1])], softmax(w)


def dselect(number, per_example, **arguments):
    return mtl.trunks.DSelectK(
        keras.layers.Identity(), expert(), experts=number, per_example=per_example, gamma=1.5, **arguments
    )


@pytest.mark.parametrize("per_example", [False, True])
@pytest.mark.parametrize(("number", "digits"), [(2, 1), (4, 2), (5, 3)])
def test_dselect_k_weights(number, digits, per_example, rng):
    model = randomize(features_model(dselect(number, per_example, top_k=2)), rng)
    x = rng.normal(0, 0.7, size=(6, 5))
    actual = model(x)
    experts = [dense(model, f"e_expert_{i}", x) for i in range(number)]
    for task in TASKS:
        r, w = selectors(model, task, x, number, 1.5, per_example)
        assert model.get_layer(f"gate_{task}").z.shape[-1] == digits
        gate = sum(w[:, j, None] * r[j] for j in range(2))
        assert_close(layer_output(model, f"gate_{task}", x), gate)
        assert_close(actual[task], gated_sum(np.broadcast_to(gate, (6, number)), experts))
        if 2**digits == number:
            assert_close(gate.sum(-1), np.ones(len(gate)))


@pytest.mark.parametrize("per_example", [False, True])
@pytest.mark.parametrize("number", [4, 5])
@pytest.mark.parametrize(("entropy", "reach"), [(0.3, 0.0), (0.0, 0.2), (0.3, 0.2)])
def test_dselect_k_penalties_reach_the_loss(entropy, reach, number, per_example, rng):
    model = regressions(dselect(number, per_example, top_k=2, entropy=entropy, reach=reach), rng)
    for task in TASKS:
        gate = model.get_layer(f"gate_{task}")
        gate.z.assign(rng.uniform(-0.5, 0.5, gate.z.shape))
    x = rng.uniform(-0.5, 0.5, size=(6, 5))
    expected = 0
    for task in TASKS:
        for r in selectors(model, task, x, number, 1.5, per_example)[0]:
            entropies = -(r * np.log(np.maximum(r, 1e-30))).sum(-1)
            expected += entropy * entropies.mean()
            expected += reach * (1 / r.sum(-1) - 1).mean() if number == 5 else 0
    assert_close(logged_penalties(model, x, rng), [expected] * 2, rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("chosen", range(5))
def test_dselect_k_with_certain_digits_picks_one_expert(chosen, rng):
    model = randomize(features_model(dselect(5, False, top_k=1), tasks=["a"]), rng)
    digits = [1 if chosen & bit else -1 for bit in (1, 2, 4)]
    model.get_layer("gate_a").z.assign([digits])
    x = rng.normal(size=(6, 5))
    assert_close(layer_output(model, "gate_a", x), np.eye(5)[[chosen]], atol=0)
    assert_close(model(x)["a"], dense(model, f"e_expert_{chosen}", x))


# MTAN


def convolved(x, kernel):
    """Return a convolution with stride 1, without bias, that keeps the size."""
    return tf.nn.conv2d(x, kernel.astype(x.dtype), 1, "SAME").numpy()


def normalised(x, values):
    gamma, beta, mean, variance = values
    return gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta


def halved(x):
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))


def test_mtan_attention(rng):
    x = keras.Input((8, 8, 2))
    encoder = mtl.encoders.ConvEncoder([3, 4], name="c")
    model = randomize(keras.Model(x, mtl.trunks.MTAN(encoder)(x, TASKS)), rng)
    data = rng.normal(size=(3, 8, 8, 2))
    actual = model(data, training=False)

    def part(x, conv, norm, activation=relu):
        return activation(normalised(convolved(x, weights(model, conv)[0]), weights(model, norm)))

    def shared(x, suffix):
        return part(x, f"c_conv_{suffix}", f"c_norm_{suffix}")

    def attention(x, name, activation=relu):
        return part(x, f"attention_{name}_conv", f"attention_{name}_norm", activation)

    u_0 = shared(data, "0_a")
    p_0 = shared(u_0, "0_b")
    u_1 = shared(halved(p_0), "1_a")
    p_1 = shared(u_1, "1_b")
    for task in TASKS:
        a_0 = attention(attention(u_0, f"0_g_{task}"), f"0_h_{task}", sigmoid)
        v_0 = halved(attention(a_0 * p_0, "0"))
        a_1 = attention(attention(np.concatenate([u_1, v_0], -1), f"1_g_{task}"), f"1_h_{task}", sigmoid)
        v_1 = attention(a_1 * p_1, "1")
        assert_close(actual[task]["map"], v_1, rtol=1e-4, atol=1e-4)
        assert_close(actual[task]["pooled"], v_1.mean((1, 2)), rtol=1e-4, atol=1e-4)


# Learning to branch


def test_learning_to_branch_uses_its_tree_in_inference(rng):
    tasks = ["a", "b", "c"]
    trunk = mtl.trunks.LearningToBranch(dense_stack(4, 4, 3), branches=2)
    model = randomize(features_model(trunk, tasks=tasks), rng)
    x = rng.normal(size=(6, 5))
    actual, tree = model(x), trunk.tree(model)
    for task in tasks:
        path = [np.argmax(model.get_layer(f"branch_of_{task}").theta)]
        for level in (2, 1):
            path.insert(0, np.argmax(model.get_layer(f"branch_{level}_{path[0]}").theta))
        assert tree[task] == path
        h = x
        for level, index in enumerate(path):
            h = dense(model, f"d{level}_branch_{index}", h)
        assert_close(actual[task], h)


def draw_weights(branch):
    """Return the weights of one draw in training."""
    number = branch.theta.shape[0] if branch.built else 3
    return branch(list(tf.eye(number)), training=True)[0].numpy()


def test_branch_samples_gumbel_softmax(rng):
    branch = Branch(temperature=0.8, decay=0.9, lowest=0.1)
    draw_weights(branch)
    branch.theta.assign(rng.normal(size=3))
    theta = branch.theta.numpy()
    for _ in range(5):
        seed = keras.random.SeedGenerator(0)
        seed.state.assign(branch.seed_generator.state)
        uniform = keras.random.uniform((3,), 1e-6, 1 - 1e-6, seed=seed).numpy()
        temperature = float(branch.temperature)
        actual = draw_weights(branch)
        assert_close(actual.sum(), 1)
        noisy = np.log(softmax(theta)) - np.log(-np.log(uniform))
        assert_close(actual, softmax(noisy / temperature), rtol=1e-3, atol=1e-5)


def test_branch_draws_each_input_with_its_probability():
    branch = Branch(temperature=0.1, decay=1.0, lowest=0.1)
    draw_weights(branch)
    branch.theta.assign(np.log([0.6, 0.3, 0.1]))
    counts = np.bincount([np.argmax(draw_weights(branch)) for _ in range(500)], minlength=3)
    np.testing.assert_allclose(counts / 500, [0.6, 0.3, 0.1], atol=0.09)  # four standard deviations


def test_branch_temperature_falls_only_in_training():
    model = features_model(mtl.trunks.LearningToBranch(dense_stack(4, 3), temperature=2.0, decay=0.5, lowest=0.3))
    branches = [layer for layer in model.layers if isinstance(layer, Branch)]
    assert len(branches) == 4
    x = np.ones((2, 5))
    for expected in (1.0, 0.5, 0.3, 0.3):
        model(x, training=True)
        model(x, training=False)
        assert_close([branch.temperature.numpy() for branch in branches], [expected] * 4)


def test_branch_training_learns_theta_and_its_weights_sum_to_1(rng):
    encoder = dense_stack(4, 3)
    encoder[1].build(encoder[0](rng.normal(size=(1, 5))).shape)  # copies of built layers are equal
    model = features_model(mtl.trunks.LearningToBranch(encoder))
    x = rng.normal(size=(6, 5))
    equal = dense(model, "d1_branch_0", dense(model, "d0_branch_0", x))
    for output in model(x, training=True).values():
        assert_close(output, equal)
    randomize(model, rng)
    thetas = [layer.theta.value for layer in model.layers if isinstance(layer, Branch)]
    with tf.GradientTape() as tape:
        total = sum(tf.reduce_sum(output) for output in model(x, training=True).values())
    assert all(np.abs(gradient).max() > 0 for gradient in tape.gradient(total, thetas))


# One encoder with task-specific parts


@SHAPES
def test_task_conditioned_film(shape, key, rng):
    model = randomize(features_model(mtl.trunks.TaskConditioned(dense_stack(4, 3), dim=2), shape, key), rng)
    x = rng.normal(size=(6, *shape))
    actual = model(x)
    for task in TASKS:
        ((e,),) = weights(model, f"embedding_of_{task}")
        h = x
        for level in range(2):
            film = model.get_layer(f"film_{level}")
            scale, shift = film.scale.numpy(), film.shift.numpy()
            h = (1 + e @ scale) * dense(model, f"d{level}", h) + e @ shift
        assert_close(actual[task], h)


@SHAPES
def test_adapters_are_residual_bottlenecks(shape, key, rng):
    model = randomize(features_model(mtl.trunks.Adapters(dense_stack(4, 3), bottleneck=2), shape, key), rng)
    x = rng.normal(size=(6, *shape))
    actual = model(x)
    for task in TASKS:
        h = x
        for level in range(2):
            h = dense(model, f"d{level}", h)
            adapter = model.get_layer(f"adapter_{level}_{task}")
            gamma, beta = adapter.norm.gamma.numpy(), adapter.norm.beta.numpy()
            normed = gamma * (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-6) + beta
            hidden = relu(affine(normed, [v.numpy() for v in adapter.down.weights]))
            h = h + affine(hidden, [v.numpy() for v in adapter.up.weights])
        assert_close(actual[task], h, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("trunk", ["TaskConditioned", "Adapters", "LoRA", "MTLLoRA"])
def test_task_specific_parts_start_as_the_encoder(trunk, rng):
    encoder = dense_stack(4, 3)
    model = features_model(getattr(mtl.trunks, trunk)(encoder))
    x = rng.normal(size=(6, 5)).astype("float32")
    expected = encoder[1](encoder[0](x))
    for output in model(x).values():
        assert_close(output, expected)


# LoRA


@pytest.mark.parametrize(("alpha", "factor"), [(None, 2), (6, 2), (1, 1 / 3)])
def test_lora_of_dense_layers(alpha, factor, rng):
    encoder = dense_stack(4, 3)
    model = randomize(features_model(mtl.trunks.LoRA(encoder, rank=3, alpha=alpha)), rng)
    x = rng.normal(size=(6, 5))
    actual = model(x)
    for task in TASKS:
        h, factors = x, weights(model, f"lora_{task}")
        for level, layer in enumerate(encoder):
            a, b = factors[2 * level : 2 * level + 2]
            h = relu(affine(h, [layer.kernel.numpy() + factor * a @ b, layer.bias.numpy()]))
        assert_close(actual[task], h)


@pytest.mark.parametrize(("alpha", "factor"), [(None, 2), (6, 2), (1, 1 / 3)])
def test_mtl_lora_of_dense_layers(alpha, factor, rng):
    encoder = dense_stack(4, 3)
    trunk = mtl.trunks.MTLLoRA(encoder, rank=3, alpha=alpha, up_projections=2, temperature=0.5)
    model = randomize(features_model(trunk), rng)
    x = rng.normal(size=(6, 5))
    actual, shared = model(x), weights(model, "mtl_lora_shared")
    norms = trunk.adapter_norms(model)
    for task in TASKS:
        h, own = x, weights(model, f"mtl_lora_{task}")
        for level, layer in enumerate(encoder):
            (a, b), (transformation, w) = (part[2 * level : 2 * level + 2] for part in (shared, own))
            share = np.exp(w / 0.5) / np.exp(w / 0.5).sum()
            change = factor * a @ transformation @ (share[0] * b[0] + share[1] * b[1])
            h = relu(affine(h, [layer.kernel.numpy() + change, layer.bias.numpy()]))
            ratio = np.linalg.norm(change) / np.linalg.norm(layer.kernel.numpy())
            assert list(norms[task].values())[level] == pytest.approx(ratio, rel=1e-5)
        assert_close(actual[task], h)


@pytest.mark.parametrize(("trunk", "own", "count"), [("LoRA", "lora_[ab]/", 8), ("MTLLoRA", "mtl_lora_", 12)])
def test_lora_does_not_change_a_frozen_encoder(trunk, own, count, rng):
    encoder = dense_stack(4, 3)
    model = randomize(features_model(getattr(mtl.trunks, trunk)(encoder, rank=3)), rng)
    for layer in encoder:
        layer.trainable = False
    before = [v.numpy().copy() for layer in encoder for v in layer.weights]
    model(rng.normal(size=(6, 5)), training=True)
    for v, expected in zip([v for layer in encoder for v in layer.weights], before, strict=True):
        np.testing.assert_array_equal(v, expected)
    names = [v.path for v in model.trainable_variables]
    assert len(names) == count
    assert all(re.search(own, name) for name in names)


def bert(dropout=0.1):
    return keras_hub.models.BertBackbone(
        vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16, dropout=dropout
    )


def tokens():
    ids = np.array([[2, 7, 3, 0], [5, 4, 9, 11]])
    return {"token_ids": ids, "padding_mask": ids != 0}


def lora_of_bert(rng, dropout=0.1, **arguments):
    backbone = bert(dropout)
    types = {"token_ids": "int32", "padding_mask": "bool"}
    inputs = {name: keras.Input((4,), dtype=dtype, name=name) for name, dtype in types.items()}
    trunk = mtl.trunks.LoRA(mtl.encoders.BackboneEncoder(backbone), rank=2, **arguments)
    features = {task: features["sequence"] for task, features in trunk(inputs, TASKS).items()}
    return backbone, randomize(keras.Model(inputs, features), rng)


@pytest.mark.parametrize("kernels", [None, ["query", "value"]])
def test_lora_of_bert_is_bert_with_changed_kernels(kernels, rng):
    backbone, model = lora_of_bert(rng, alpha=3, kernels=kernels)
    actual = model(tokens())
    changed = [v.path for v in model.get_layer("lora_encoder").changed]
    assert len(changed) == (2 if kernels else 6)  # query, key, value, output and two of the feed-forward part
    axes = {"query": 1, "key": 1, "value": 1, "attention_output": 2}  # [D, N, H], and [N, H, D] of the output
    for task in TASKS:
        copy = bert()
        copy.set_weights(backbone.get_weights())
        values = weights(model, f"lora_{task}")
        factors = dict(zip(changed, zip(values[::2], values[1::2], strict=True), strict=True))
        for original, variable in zip(backbone.variables, copy.variables, strict=True):
            if original.path in factors:
                a, b = factors[original.path]
                inputs = axes.get(original.path.split("/")[-2], 1)
                assert a.shape == (np.prod(variable.shape[:inputs]), 2)
                assert b.shape == (2, np.prod(variable.shape[inputs:]))
                variable.assign(variable.numpy() + 3 / 2 * (a @ b).reshape(variable.shape))
        expected = copy({**tokens(), "segment_ids": np.zeros((2, 4), "int32")})["sequence_output"]
        assert_close(actual[task], expected, rtol=1e-3, atol=1e-4)
        unchanged = backbone({**tokens(), "segment_ids": np.zeros((2, 4), "int32")})["sequence_output"]
        assert np.abs(actual[task] - unchanged).max() > 0.1


@pytest.mark.parametrize("wrap", [lambda f: f, tf.function], ids=["eager", "graph"])
def test_dropout_inside_lora_draws_new_masks(wrap, rng):
    _, model = lora_of_bert(rng, dropout=0.5)
    train, infer = wrap(lambda x: model(x, training=True)), wrap(lambda x: model(x, training=False))
    inputs = {name: tf.constant(x) for name, x in tokens().items()}
    one, two = train(inputs), train(inputs)
    for task in TASKS:
        assert np.abs(one[task] - two[task]).max() > 0.1
    one, two = infer(inputs), infer(inputs)
    for task in TASKS:
        np.testing.assert_array_equal(one[task], two[task])


def test_batch_statistics_inside_lora_move_once_per_task(rng):
    norm = keras.layers.BatchNormalization(momentum=0.9, name="norm")
    first = keras.layers.Dense(4, name="d0")
    model = features_model(mtl.trunks.LoRA([first, norm], rank=2))
    randomize(model, rng)
    x = rng.normal(size=(6, 5))
    start, means = norm.moving_mean.numpy().copy(), []
    for task in TASKS:
        a, b = weights(model, f"lora_{task}")
        means.append(affine(x, [first.kernel.numpy() + 2 * a @ b, first.bias.numpy()]).mean(0))
    model(x, training=True)
    either = [0.9 * (0.9 * start + 0.1 * one) + 0.1 * other for one, other in itertools.permutations(means)]
    assert any(np.allclose(norm.moving_mean, expected, atol=1e-5) for expected in either)
