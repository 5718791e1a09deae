"""Every trunk around every kind of encoder: partition, training with every kind of balancing, saving, replicas."""

import functools
import re
from typing import NamedTuple

import keras
import numpy as np
import pytest
import small_models
import steps_by_hand as by_hand
import tensorflow as tf
from trunk_examples import CASES, ENCODERS, FEW_CASES, REPRESENTATIVES, TASKS, TRUNKS, T, data, model, trunk_of

import tf_mtl as mtl

every_case = pytest.mark.parametrize(("trunk", "kind"), CASES, ids=lambda x: getattr(x, "__name__", x))
few_cases = pytest.mark.parametrize(("trunk", "kind"), FEW_CASES, ids=lambda x: getattr(x, "__name__", x))
KINDS = {  # balancing and gradients
    "scalarizer": ("uncertainty", "parameters"),
    "weighting": ("upgrad", "parameters"),
    "aggregator": ("config", "parameters"),
    "features": ("upgrad", "features"),
}
NO_FRONTIER = {T.LoRA}  # its one encoder is called once per task, with weights of the task's own


def shared_layers(trunk, kind):
    """Patterns of the names of layers that reach several tasks; all others must be one task's own."""
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
    }.get(trunk, (encoder,))


class Run(NamedTuple):
    """A trained model, its logs, and its variables before and after each step."""

    model: keras.Model
    logs: dict
    steps: list


def train(made, kind, **options):
    made.compile(by_hand.sgd(), jit_compile=False, **options)
    recorder = by_hand.Recorder()
    logs = made.fit(data(kind), epochs=3, verbose=0, callbacks=[recorder]).history
    return Run(made, logs, recorder.values)


def default_balancing(trunk):
    return "equal" if trunk is T.SoftSharing else "upgrad"


@functools.cache
def trained(trunk, kind):
    return train(model(trunk, kind), kind, balancing=default_balancing(trunk))


@every_case
def test_partition(trunk, kind):
    """By names, and by what has a gradient from which task's output."""
    made = trained(trunk, kind).model
    expected = shared_layers(trunk, kind)
    found = made.describe_sharing(print_fn=None)
    for layer, tasks, _ in found.layers:
        assert (len(tasks) > 1) == any(re.search(part, layer) for part in expected), (layer, tasks)
    parts = mtl.partition(made)
    variables = made.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        outputs = made(ENCODERS[kind][2](4), training=True)
    for task in TASKS:
        gradients = tape.gradient(outputs[task], [v.value for v in variables])
        reached = {v.path for v, g in zip(variables, gradients, strict=True) if g is not None}
        of_task = [v for v, users in zip(parts.shared, parts.sharers, strict=True) if task in users]
        assert reached == {v.path for v in [*of_task, *parts.own[task]] if v.trainable}


@every_case
def test_describes_sharing(trunk, kind, capsys):
    made = trained(trunk, kind).model
    found = made.describe_sharing()
    printed = capsys.readouterr().out
    assert all(layer in printed for layer, _, _ in found.layers)
    assert found.parameters == sum(size for _, _, size in found.layers) == made.count_params()
    for task in TASKS:
        alone = mtl.build_model(
            ENCODERS[kind][1](), trunk_of(trunk, kind).single_task(task), [mtl.tasks.Regression(task)]
        )
        assert found.single_task[task] == alone.count_params()
    assert found.saved == pytest.approx(1 - found.parameters / sum(found.single_task.values()))
    if trunk is T.HardSharing:
        assert 1 / 3 < found.saved < 1 / 2


def check_first_steps(run, kind, features=False, tolerance=1e-4):
    """Check two steps, the first without a label for `b`: as by hand, with what `b` owns unchanged."""
    by_hand.check_steps(run.model, run.steps, data(kind), features=features, tolerance=tolerance)
    assert all(np.isfinite(values).all() for values in run.logs.values())
    parts = mtl.partition(run.model)
    before, after = run.steps[:2]
    changed = {key for key, value in after.items() if not np.array_equal(before[key], value)}
    assert not changed & {id(v) for v in parts.own["b"]}
    assert changed & {id(v) for v in parts.own["a"]}
    assert not parts.shared or changed & {id(v) for v in parts.shared}


@every_case
def test_each_step_is_as_by_hand(trunk, kind):
    run = trained(trunk, kind)
    assert bool(mtl.partition(run.model).shared) == (trunk is not T.SoftSharing)
    check_first_steps(run, kind)


@few_cases
@pytest.mark.parametrize("balanced", KINDS)
def test_trains_with_every_kind_of_balancing(trunk, kind, balanced):
    balancing, gradients = KINDS[balanced]
    check_first_steps(
        train(model(trunk, kind), kind, balancing=balancing, gradients=gradients), kind, gradients == "features"
    )


@pytest.mark.parametrize("balanced", [kind for kind in KINDS if kind != "scalarizer"])
def test_nothing_shared(balanced):
    balancing, gradients = KINDS[balanced]
    with pytest.raises(ValueError, match="nothing trainable is shared"):
        model(T.SoftSharing, "vectors").compile("adam", balancing=balancing, gradients=gradients)


@pytest.mark.parametrize("trunk", NO_FRONTIER, ids=lambda x: x.__name__)
def test_no_frontier(trunk):
    with pytest.raises(ValueError, match="gradients='parameters'"):
        model(trunk, "vectors").compile("adam", balancing="upgrad", gradients="features")


@every_case
def test_saves_loads_and_exports(trunk, kind, tmp_path):
    made = trained(trunk, kind).model
    made.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again.trunk) is trunk
    x = ENCODERS[kind][2](4)
    outputs = made.predict(x, verbose=0)
    for one, other in zip(outputs.values(), again.predict(x, verbose=0).values(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.evaluate(data(kind), verbose=0) == made.evaluate(data(kind), verbose=0)
    assert again.describe_sharing(print_fn=None) == made.describe_sharing(print_fn=None)

    path = mtl.export.saved_model(again, tmp_path / "export", check=kind == "tokens")  # slow, as those tests are
    found = tf.saved_model.load(str(path)).signatures["serving_default"](x=tf.cast(x, made.input.dtype))
    for task, expected in made.decode(outputs).items():
        np.testing.assert_allclose(found[f"{task}_value"], expected["value"], rtol=1e-5, atol=1e-6)


@few_cases
def test_two_replicas_equal_one(trunk, kind):
    one = trained(trunk, kind)
    with mtl.distribute.strategy("mirrored").scope():
        two = train(model(trunk, kind), kind, balancing=default_balancing(trunk))
    assert two.model.distribute_strategy.num_replicas_in_sync == 2
    assert small_models.largest_difference(one.model.get_weights(), two.model.get_weights()) < 1e-4
    for name in ("loss", *(f"{task}_loss" for task in TASKS)):
        np.testing.assert_allclose(two.logs[name], one.logs[name], rtol=1e-4, atol=1e-5)


OF_TOKENS = [trunk for trunk in TRUNKS if trunk is not T.MTAN]


@pytest.mark.parametrize("trunk", OF_TOKENS, ids=lambda x: x.__name__)
def test_tokens_and_pooled_features(trunk):
    """One task reads every token, one the text; what comes after the last word changes nothing."""
    made = model(trunk, "tokens", features="sequence")
    assert made.output["a"].shape == (None, None, 1)
    x = ENCODERS["tokens"][2](4)
    padded = made(x)
    for task, expected in made(x[:, :6]).items():
        found = padded[task][:, :6] if task == "a" else padded[task]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "trunk",
    [pytest.param(t, marks=[] if t in REPRESENTATIVES else pytest.mark.slow) for t in OF_TOKENS],
    ids=lambda x: x.__name__,
)
def test_trains_on_tokens_and_pooled_features(trunk):
    made = model(trunk, "tokens", features="sequence")
    x = ENCODERS["tokens"][2](4)
    made.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    y = {"a": np.ones((4, 8, 1), "float32"), "b": np.zeros(4, "float32")}
    logs = made.fit(x, y, epochs=12, verbose=0).history["loss"]
    assert logs[-1] < logs[0]
    padded = made.predict(x, verbose=0)
    for task, expected in made.predict(x[:, :6], verbose=0).items():
        found = padded[task][:, :6] if task == "a" else padded[task]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def in_mixed_precision(trunk, kind):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        return model(trunk, kind)
    finally:
        keras.config.set_dtype_policy("float32")


@every_case
def test_mixed_precision_keeps_outputs_and_variables_in_float32(trunk, kind):
    made = in_mixed_precision(trunk, kind)
    assert {output.dtype for output in made.output.values()} == {"float32"}
    assert {v.dtype for v in made.trainable_variables} == {"float32"}
    outputs = made(ENCODERS[kind][2](4), training=True)
    assert {output.dtype for output in outputs.values()} == {tf.float32}
    assert all(np.isfinite(output).all() for output in outputs.values())


@few_cases
def test_trains_in_mixed_precision(trunk, kind):
    run = train(in_mixed_precision(trunk, kind), kind, balancing=default_balancing(trunk))
    check_first_steps(run, kind, tolerance=0.02)
