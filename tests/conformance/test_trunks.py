"""Every trunk around every kind of encoder: partition, training with every kind of balancing, saving, replicas."""

import re

import examples
import keras
import numpy as np
import pytest
import tensorflow as tf
from trunk_examples import CASES, ENCODERS, TASKS, TRUNKS, T, data, model, trunk_of

import tf_mtl as mtl

every_case = pytest.mark.parametrize(("trunk", "kind"), CASES, ids=lambda x: getattr(x, "__name__", x))
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


@every_case
def test_partition(trunk, kind):
    """By names, and by what has a gradient from which task's output."""
    made = model(trunk, kind)
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
    made = model(trunk, kind)
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


@every_case
@pytest.mark.parametrize("balanced", KINDS)
def test_trains_with_every_kind_of_balancing(trunk, kind, balanced):
    balancing, gradients = KINDS[balanced]
    made = model(trunk, kind)
    options = {
        "optimizer": keras.optimizers.Adam(0.01),
        "balancing": balancing,
        "gradients": gradients,
        "jit_compile": False,
    }
    if trunk is T.SoftSharing and balanced != "scalarizer":
        with pytest.raises(ValueError, match="nothing trainable is shared"):
            made.compile(**options)
        return
    if trunk in NO_FRONTIER and gradients == "features":
        with pytest.raises(ValueError, match="gradients='parameters'"):
            made.compile(**options)
        return
    made.compile(**options)
    before = {v.path: v.numpy() for v in made.trainable_variables}
    first = made.fit(data(kind).take(1), verbose=0).history["loss"]  # without a label for `b`
    changed = {v.path for v in made.trainable_variables if not np.array_equal(before[v.path], v.numpy())}
    parts = mtl.partition(made)
    assert not changed & {v.path for v in parts.own["b"]}
    assert changed & {v.path for v in parts.own["a"]}
    assert trunk is T.SoftSharing or changed & {v.path for v in parts.shared}
    logs = made.fit(data(kind).take(1).repeat(10), epochs=3, verbose=0).history["loss"]
    assert logs[-1] < first[0]  # the last ten steps' mean below the first step's; false for NaN


@every_case
def test_saves_loads_and_exports(trunk, kind, tmp_path):
    made = model(trunk, kind)
    made.compile("adam", jit_compile=False)
    made.fit(data(kind), verbose=0)
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


@every_case
def test_two_replicas_equal_one(trunk, kind):
    def trained():
        made = model(trunk, kind)
        made.compile(
            keras.optimizers.SGD(0.05), balancing="equal" if trunk is T.SoftSharing else "upgrad", jit_compile=False
        )
        return made, made.fit(data(kind), epochs=3, verbose=0).history

    one, logs = trained()
    with mtl.distribute.strategy("mirrored").scope():
        two, found = trained()
    assert two.distribute_strategy.num_replicas_in_sync == 2
    assert examples.largest_difference(one.get_weights(), two.get_weights()) < 1e-4
    for name in ("loss", *(f"{task}_loss" for task in TASKS)):
        np.testing.assert_allclose(found[name], logs[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("trunk", [trunk for trunk in TRUNKS if trunk is not T.MTAN], ids=lambda x: x.__name__)
def test_tokens_and_pooled_features(trunk):
    """One task reads every token, one the text; what stands behind the padding changes nothing."""
    made = model(trunk, "tokens", features="sequence")
    assert made.output["a"].shape == (None, None, 1)
    x = ENCODERS["tokens"][2](4)
    made.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    y = {"a": np.ones((4, 8, 1), "float32"), "b": np.zeros(4, "float32")}
    logs = made.fit(x, y, epochs=12, verbose=0).history["loss"]
    assert logs[-1] < logs[0]
    for task, expected in made.predict(x[:, :6], verbose=0).items():
        found = made.predict(x, verbose=0)[task]
        np.testing.assert_allclose(found[:, :6] if task == "a" else found, expected, rtol=1e-4, atol=1e-5)


@every_case
def test_mixed_precision(trunk, kind):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        made = model(trunk, kind)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {output.dtype for output in made.output.values()} == {"float32"}
    assert {v.dtype for v in made.trainable_variables} == {"float32"}
    made.compile("adam", balancing="equal" if trunk is T.SoftSharing else "upgrad", jit_compile=False)
    assert np.isfinite(made.fit(data(kind), verbose=0).history["loss"]).all()
