"""Every trunk with every kind of encoder: partition, training with every kind of balancing, saving, replicas."""

import functools
import re
from typing import NamedTuple

import keras
import numpy as np
import pytest
import reference_steps
import small_models
import tensorflow as tf
from trunk_examples import CASES, ENCODERS, FEW_CASES, REPRESENTATIVES, TASKS, TRUNKS, T, build_example, data, trunk_of

import tf_mtl as mtl

every_case = pytest.mark.parametrize(("trunk", "kind"), CASES, ids=lambda x: getattr(x, "__name__", x))
few_cases = pytest.mark.parametrize(("trunk", "kind"), FEW_CASES, ids=lambda x: getattr(x, "__name__", x))
fewest_cases = pytest.mark.parametrize(  # a single encoder; gates
    ("trunk", "kind"),
    [
        pytest.param(*case.values, marks=[] if case.values[0] in (T.HardSharing, T.PLE) else pytest.mark.slow)
        if not case.marks
        else case
        for case in FEW_CASES
    ],
    ids=lambda x: getattr(x, "__name__", x),
)
KINDS = {  # balancing and gradients
    "scalarizer": ("uncertainty", "parameters"),
    "weighting": ("upgrad", "parameters"),
    "aggregator": ("config", "parameters"),
    "features": ("upgrad", "features"),
}
# LoRA and MTLLoRA call their encoder once per task, with the task's own weights. The others' units give each task its
# own tensor.
NO_FRONTIER = [T.LoRA, T.MTLLoRA, T.CrossStitch, T.Sluice]
BALANCED_CASES = [
    pytest.param(balanced, *case.values, marks=case.marks)
    for balanced in KINDS
    for case in FEW_CASES
    if balanced == "scalarizer" or case.values[0] is not T.SoftSharing  # which shares nothing
    if balanced != "features" or case.values[0] not in NO_FRONTIER
]


def shared_layers(trunk, kind):
    """Patterns for the names of layers that several tasks use; every other layer must belong to one task."""
    encoder = {"vectors": "mlp_encoder", "tokens": "transformer_encoder", "images": "conv_encoder"}[kind]
    return {
        T.SoftSharing: (),
        T.Hierarchical: ("_dense_0", "_embedding", "_0_[ab]$"),
        T.CrossStitch: (encoder, "cross_stitch"),
        T.Sluice: (encoder, "sluice"),
        T.MMoE: (encoder, "_expert_"),
        T.CGC: (encoder, "_cgc_shared_"),
        T.PLE: (encoder, "^dense.*_level_0_", "gate_level_0_shared", "_level_1_shared_"),
        T.DSelectK: (encoder, "_expert_"),
        T.MTAN: (encoder, *(f"attention_{i}_{part}" for i in (0, 1) for part in ("conv", "norm"))),
        T.LearningToBranch: (encoder, "branch_1_"),
        T.TaskConditioned: (encoder, "film_"),
        T.LoRA: ("lora_encoder",),
        T.MTLLoRA: ("lora_encoder", "lora_shared"),
    }.get(trunk, (encoder,))


class Run(NamedTuple):
    """A trained model, its logs, and its variables before and after each step."""

    model: keras.Model
    logs: dict
    snapshots: list


def train(model, kind, **options):
    model.compile(reference_steps.sgd(), jit_compile=False, **options)
    recorder = reference_steps.Recorder()
    logs = model.fit(data(kind), epochs=3, verbose=0, callbacks=[recorder]).history
    return Run(model, logs, recorder.snapshots)


def default_balancing(trunk):
    return "equal" if trunk is T.SoftSharing else "upgrad"


@functools.cache
def trained(trunk, kind):
    return train(build_example(trunk, kind), kind, balancing=default_balancing(trunk))


@every_case
def test_partition(trunk, kind):
    """Checked by names of layers, and by which task's output has a gradient for which variable."""
    model = trained(trunk, kind).model
    expected = shared_layers(trunk, kind)
    sharing = model.describe_sharing(print_fn=None)
    for layer, tasks, _ in sharing.layers:
        assert (len(tasks) > 1) == any(re.search(part, layer) for part in expected), (layer, tasks)
    parts = mtl.partition(model)
    variables = model.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        outputs = model(ENCODERS[kind][2](4), training=True)
    for task in TASKS:
        gradients = tape.gradient(outputs[task], [v.value for v in variables])
        with_gradient = {v.path for v, g in zip(variables, gradients, strict=True) if g is not None}
        of_task = [v for v, users in zip(parts.shared, parts.sharers, strict=True) if task in users]
        assert with_gradient == {v.path for v in [*of_task, *parts.own[task]] if v.trainable}


@every_case
def test_describes_sharing(trunk, kind, capsys):
    model = trained(trunk, kind).model
    sharing = model.describe_sharing()
    printed = capsys.readouterr().out
    assert all(layer in printed for layer, _, _ in sharing.layers)
    assert sharing.parameters == sum(size for _, _, size in sharing.layers) == model.count_params()
    for task in TASKS:
        single = mtl.build_model(
            ENCODERS[kind][1](), trunk_of(trunk, kind).single_task(task), [mtl.tasks.Regression(task)]
        )
        assert sharing.single_task[task] == single.count_params()
    assert sharing.saved == pytest.approx(1 - sharing.parameters / sum(sharing.single_task.values()))
    if trunk is T.HardSharing:
        assert 1 / 3 < sharing.saved < 1 / 2


def check_first_steps(run, kind, features=False, tolerance=1e-4):
    """Check two steps; the first has no label for `b` and leaves the variables of `b` unchanged."""
    reference_steps.check_steps(run.model, run.snapshots, data(kind), features=features, tolerance=tolerance)
    assert all(np.isfinite(values).all() for values in run.logs.values())
    parts = mtl.partition(run.model)
    before, after = run.snapshots[:2]
    changed = {key for key, value in after.items() if not np.array_equal(before[key], value)}
    assert not changed & {id(v) for v in parts.own["b"]}
    assert changed & {id(v) for v in parts.own["a"]}
    assert not parts.shared or changed & {id(v) for v in parts.shared}


@every_case
def test_each_step_equals_the_reference(trunk, kind):
    run = trained(trunk, kind)
    assert bool(mtl.partition(run.model).shared) == (trunk is not T.SoftSharing)
    check_first_steps(run, kind)


@pytest.mark.parametrize(("balanced", "trunk", "kind"), BALANCED_CASES, ids=lambda x: getattr(x, "__name__", x))
def test_trains_with_every_kind_of_balancing(balanced, trunk, kind):
    balancing, gradients = KINDS[balanced]
    if (balancing, gradients) == (default_balancing(trunk), "parameters"):
        run = trained(trunk, kind)
    else:
        run = train(build_example(trunk, kind), kind, balancing=balancing, gradients=gradients)
    check_first_steps(run, kind, gradients == "features")


@pytest.mark.parametrize("balanced", [kind for kind in KINDS if kind != "scalarizer"])
def test_gradient_balancing_needs_a_shared_variable(balanced):
    balancing, gradients = KINDS[balanced]
    with pytest.raises(ValueError, match="nothing trainable is shared"):
        build_example(T.SoftSharing, "vectors").compile("adam", balancing=balancing, gradients=gradients)


@pytest.mark.parametrize("trunk", NO_FRONTIER, ids=lambda x: x.__name__)
def test_features_need_a_frontier(trunk):
    with pytest.raises(ValueError, match="gradients='parameters'"):
        build_example(trunk, "vectors").compile("adam", balancing="upgrad", gradients="features")


def saved_and_loaded(model, folder):
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


@every_case
def test_saves_and_loads(trunk, kind, tmp_path):
    model = trained(trunk, kind).model
    loaded = saved_and_loaded(model, tmp_path)
    assert type(loaded.trunk) is trunk
    x = ENCODERS[kind][2](4)
    for one, other in zip(model(x).values(), loaded(x).values(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert loaded.evaluate(data(kind), verbose=0) == model.evaluate(data(kind), verbose=0)
    assert loaded.describe_sharing(print_fn=None) == model.describe_sharing(print_fn=None)


@few_cases
def test_exports(trunk, kind, tmp_path):
    model = trained(trunk, kind).model
    loaded = saved_and_loaded(model, tmp_path)
    x = ENCODERS[kind][2](4)
    path = mtl.export.saved_model(loaded, tmp_path / "export", check=kind == "tokens")  # the tests of tokens are slow
    served = tf.saved_model.load(str(path)).signatures["serving_default"](x=tf.cast(x, model.input.dtype))
    for task, expected in model.decode(model(x)).items():
        np.testing.assert_allclose(served[f"{task}_value"], expected["value"], rtol=1e-5, atol=1e-6)


@fewest_cases
def test_two_replicas_equal_one(trunk, kind):
    one = trained(trunk, kind)
    with mtl.distribute.strategy("mirrored").scope():
        two = train(build_example(trunk, kind), kind, balancing=default_balancing(trunk))
    assert two.model.distribute_strategy.num_replicas_in_sync == 2
    assert small_models.largest_difference(one.model.get_weights(), two.model.get_weights()) < 1e-4
    for name in ("loss", *(f"{task}_loss" for task in TASKS)):
        np.testing.assert_allclose(two.logs[name], one.logs[name], rtol=1e-4, atol=1e-5)


TOKEN_TRUNKS = [trunk for trunk in TRUNKS if trunk is not T.MTAN]


@pytest.mark.parametrize("trunk", TOKEN_TRUNKS, ids=lambda x: x.__name__)
def test_tokens_and_pooled_features(trunk):
    """One task reads every token, the other the pooled features; padding changes neither."""
    model = build_example(trunk, "tokens", features="sequence")
    assert model.output["a"].shape == (None, None, 1)
    x = ENCODERS["tokens"][2](4)
    padded = model(x)
    for task, expected in model(x[:, :6]).items():
        outputs = padded[task][:, :6] if task == "a" else padded[task]
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "trunk",
    [pytest.param(t, marks=[] if t in REPRESENTATIVES else pytest.mark.slow) for t in TOKEN_TRUNKS],
    ids=lambda x: x.__name__,
)
def test_trains_on_tokens_and_pooled_features(trunk):
    model = build_example(trunk, "tokens", features="sequence")
    x = ENCODERS["tokens"][2](4)
    model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    y = {"a": np.ones((4, 8, 1), "float32"), "b": np.zeros(4, "float32")}
    logs = model.fit(x, y, epochs=12, verbose=0).history["loss"]
    assert logs[-1] < logs[0]
    padded = model(x)
    for task, expected in model(x[:, :6]).items():
        outputs = padded[task][:, :6] if task == "a" else padded[task]
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


def in_mixed_precision(trunk, kind):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        return build_example(trunk, kind)
    finally:
        keras.config.set_dtype_policy("float32")


@every_case
def test_mixed_precision_keeps_outputs_and_variables_in_float32(trunk, kind):
    model = in_mixed_precision(trunk, kind)
    assert {output.dtype for output in model.output.values()} == {"float32"}
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    outputs = model(ENCODERS[kind][2](4), training=True)
    assert {output.dtype for output in outputs.values()} == {tf.float32}
    assert all(np.isfinite(output).all() for output in outputs.values())


@fewest_cases
def test_trains_in_mixed_precision(trunk, kind):
    run = train(in_mixed_precision(trunk, kind), kind, balancing=default_balancing(trunk))
    check_first_steps(run, kind, tolerance=0.02)
