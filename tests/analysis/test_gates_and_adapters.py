"""Mean gate weights and adapters' norms against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype("float32")
IDS = RNG.integers(1, 20, (6, 8)) * (np.arange(8) < np.array([[8], [6], [3], [7], [1], [5]]))


def build(trunk, inputs=None, tasks=None):
    tasks = tasks or [mtl.tasks.Regression("a"), mtl.tasks.Regression("b")]
    return mtl.build_model(keras.Input((4,)) if inputs is None else inputs, trunk, tasks)


def expert():
    return keras.layers.Dense(3, name="expert")


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def randomize(model):
    for variable in model.trainable_variables:
        variable.assign(RNG.normal(size=variable.shape))


def test_softmax_gates_are_averaged_over_all_rows():
    model = build(mtl.trunks.MMoE(keras.layers.Identity(), expert(), experts=3))
    kernels = [model.get_layer(f"gate_{task}").kernel.numpy() for task in ("a", "b")]
    expected = np.stack([softmax(X @ kernel).mean(0) for kernel in kernels])
    for given in (X, tf.data.Dataset.from_tensor_slices(X).batch(7)):
        weights = mtl.analysis.gates(model, given)
        assert list(weights) == ["experts"]
        tasks, experts, values = weights["experts"]
        assert (tasks, experts) == (("a", "b"), tuple(f"expert_expert_{i}" for i in range(3)))
        np.testing.assert_allclose(values, expected, rtol=1e-5)
    assert str(weights["experts"]).splitlines()[2].startswith(f"| a    | {expected[0, 0]:15.3f} |")


def test_gates_of_progressive_extraction():
    model = build(mtl.trunks.PLE(keras.layers.Identity(), expert(), task_experts=1, shared_experts=2))
    weights = mtl.analysis.gates(model, X)
    assert list(weights) == ["level_0", "level_1"]
    assert weights["level_0"].tasks == ("a", "b", "shared")
    assert weights["level_1"].tasks == ("a", "b")
    names = [name.removeprefix("expert_level_0_") for name in weights["level_0"].experts]
    assert names == ["a_0", "shared_0", "shared_1", "b_0"]
    for reader, own in (("a", [0, 1, 2]), ("b", [3, 1, 2]), ("shared", [0, 3, 1, 2])):
        kernel = model.get_layer(f"gate_level_0_{reader}").kernel.numpy()
        expected = np.zeros(4)
        expected[own] = softmax(X @ kernel).mean(0)
        row = weights["level_0"].weights[weights["level_0"].tasks.index(reader)]
        np.testing.assert_allclose(row, expected, rtol=1e-5)


def test_one_level_with_experts_of_tasks():
    weights = mtl.analysis.gates(build(mtl.trunks.CGC(keras.layers.Identity(), expert())), X)["cgc"].weights
    assert (weights == 0).sum() == 2
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("per_example", [False, True])
def test_gates_that_choose(per_example):
    trunk = mtl.trunks.DSelectK(keras.layers.Identity(), expert(), experts=4, top_k=1, per_example=per_example)
    model = build(trunk)
    for task, index in (("a", 2), ("b", 1)):  # the binary digits of the index
        z = model.get_layer(f"gate_{task}").z
        digits = np.where([index & 1, index & 2], 1.0, -1.0)
        z.assign(np.zeros(z.shape) + digits if not per_example else np.zeros(z.shape))
    weights = mtl.analysis.gates(model, X)["experts"].weights
    np.testing.assert_allclose(weights, np.full((2, 4), 0.25) if per_example else np.eye(4)[[2, 1]], atol=1e-6)


@pytest.mark.parametrize("read", ["tokens", "words"])
def test_only_tokens_that_heads_read_count(read):
    encoder = mtl.encoders.RecurrentEncoder(20, dim=6, units=2)
    names = ["token_ids", "word_starts"][: 1 + (read == "words")]
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in names}
    tasks = [mtl.tasks.Tagging("a", labels=["O", "B-x"])]
    model = build(mtl.trunks.MMoE(encoder, expert(), experts=3), inputs, tasks)
    starts = (IDS > 0) & (np.arange(8) % 2 == 0)
    x = {"token_ids": IDS, "word_starts": starts.astype("int32")}
    sequence = encoder(IDS)["sequence"].numpy()[starts if read == "words" else IDS > 0]
    expected = softmax(sequence @ model.get_layer("gate_a").kernel.numpy()).mean(0)
    given = {name: x[name] for name in names}
    np.testing.assert_allclose(mtl.analysis.gates(model, given)["experts"].weights[0], expected, rtol=1e-4)


def test_models_without_gates():
    hard = build(mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([3])))
    with pytest.raises(ValueError, match="MMoE, DSelectK, CGC and PLE do, received one with HardSharing"):
        mtl.analysis.gates(hard, X)
    with pytest.raises(ValueError, match="received one with no trunk"):
        mtl.analysis.gates(mtl.MultiTaskModel(hard.input, hard.output), X)


def test_norms_of_low_rank_changes():
    model = build(mtl.trunks.LoRA(mtl.encoders.MLPEncoder([6, 5], name="mlp"), rank=2, alpha=3.0))
    assert set(mtl.analysis.adapter_norms(model)["a"].values()) == {0.0}
    randomize(model)
    norms = mtl.analysis.adapter_norms(model)
    assert list(norms) == ["a", "b"]
    first, second = model.get_layer("lora_encoder").encoder.stages
    for task, of_task in norms.items():
        changes = model.get_layer(f"lora_{task}")([X])
        kernels = {layer.kernel.path: layer.kernel for layer in (first[0], second[0])}
        expected = {
            path.removeprefix("lora_encoder/"): np.linalg.norm(change) / np.linalg.norm(kernels[path])
            for path, change in zip([v.path for v in model.get_layer("lora_encoder").changed], changes, strict=True)
        }
        assert of_task == pytest.approx(expected, rel=1e-5)
    assert norms["a"] != norms["b"]


def test_norms_of_bottlenecks():
    model = build(mtl.trunks.Adapters(mtl.encoders.MLPEncoder([6, 5]), bottleneck=2))
    assert mtl.analysis.adapter_norms(model) == {
        task: {f"adapter_0_{task}": 0.0, f"adapter_1_{task}": 0.0} for task in ("a", "b")
    }
    randomize(model)
    for task, norms in mtl.analysis.adapter_norms(model).items():
        for name, norm in norms.items():
            adapter = model.get_layer(name)
            product = adapter.down.kernel.numpy() @ adapter.up.kernel.numpy()
            assert norm == pytest.approx(np.sqrt((product**2).sum()), rel=1e-5)
            assert name.endswith(task)


def test_models_without_adapters():
    with pytest.raises(ValueError, match="LoRA and Adapters do, received one with HardSharing"):
        mtl.analysis.adapter_norms(build(mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([3]))))
