"""Matching: training, replicas, saving, answers, and towers by themselves."""

import functools

import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

import tf_mtl as mtl

ROWS, LENGTH = 30, 5
RANDOM = np.random.default_rng(0)
X = {"query": RANDOM.integers(1, 20, (ROWS, LENGTH))}
X["document"] = X["query"][:, ::-1]
X = {key: np.where(np.arange(LENGTH) < 4, ids, 0).astype("int32") for key, ids in X.items()}
IDS = 2**40 + np.arange(ROWS) // 2  # float32 would merge them
WEIGHT = {"match": (np.arange(ROWS) % 5 > 0).astype("float32")}


def encoder(name="encoder"):
    return keras.Sequential([keras.layers.Embedding(20, 8), keras.layers.GlobalAveragePooling1D()], name=name)


def build(strategy="one_device", shared=True, tasks=(), **options):
    keras.utils.set_random_seed(0)
    with mtl.distribute.strategy(strategy).scope():
        inputs = {key: keras.Input((LENGTH,), dtype="int32", name=key) for key in ("query", "document")}
        query = encoder()
        document = query if shared else encoder("other_encoder")
        trunk = mtl.trunks.HardSharing(mtl.encoders.Towers({"query": query, "document": document}))
        task = mtl.tasks.Matching("match", units=6, top=[1, 3], limit=64, **options)
        return mtl.build_model(inputs, trunk, [task, *tasks])


@functools.cache
def train(strategy):
    """The batches of 15 rows are not divisible by two replicas."""
    model = build(strategy, temperature=0.2, symmetric=True, tasks=[mtl.tasks.Regression("length")])
    with model.distribute_strategy.scope():
        model.compile(keras.optimizers.SGD(0.05))
    y = {"match": IDS, "length": X["query"][:, 0].astype("float32") / 20}
    history = model.fit(small_models.batches((X, y, WEIGHT), 15), epochs=2, verbose=0).history
    results = model.evaluate(X, y, sample_weight=WEIGHT, batch_size=7, verbose=0, return_dict=True)
    return model, history, results


def test_two_replicas_equal_one():
    one, history, results = train("one_device")
    two, replicated_history, replicated_results = train("mirrored")
    assert small_models.largest_difference(one.get_weights(), two.get_weights()) < 1e-4
    assert set(results) == {"loss", "match_loss", "length_loss", "match_recall@1", "match_recall@3", "match_mrr"} | {
        name for name in results if name.startswith("length_")
    }
    for name, values in history.items():
        np.testing.assert_allclose(replicated_history[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
    for name, value in results.items():
        assert replicated_results[name] == pytest.approx(value, abs=1e-5), name


def test_loss_is_that_of_the_labelled_rows():
    model, _, _ = train("one_device")
    output = model.predict(X, verbose=0)["match"]
    labelled = WEIGHT["match"] > 0
    y = {"match": np.where(labelled, IDS, -1), "length": np.zeros(ROWS)}
    results = model.evaluate(X, y, sample_weight=WEIGHT, batch_size=ROWS, verbose=0, return_dict=True)
    loss = mtl.losses.InBatchSoftmax(0.2, symmetric=True)
    assert results["match_loss"] == pytest.approx(np.mean(loss.call(IDS[labelled], output[labelled])), rel=1e-5)
    metric = mtl.metrics.Retrieval(6, [1, 3], limit=64)
    metric.update_state(IDS[labelled], output[labelled])
    for name, value in metric.result().items():
        assert results[f"match_{name}"] == pytest.approx(float(value), abs=1e-6)


@pytest.mark.parametrize("shared", [True, False])
def test_pairs_are_learnt_saved_and_answered(shared, tmp_path):
    model = build(shared=shared, shared_projection=shared, temperature=0.2)
    model.compile(keras.optimizers.Adam(0.02), jit_compile=False)
    y = {"match": np.zeros(ROWS, int)}  # nothing is known about duplicates
    mrr = model.fit(X, y, batch_size=ROWS, epochs=40, verbose=0).history["match_mrr"]
    assert mrr[-1] > min(mrr[0] + 0.3, 0.9)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    answer = loaded.answer(X)["match"]
    assert loaded.count_params() == model.count_params()
    vectors = model.predict(X, verbose=0)["match"]
    np.testing.assert_allclose(np.concatenate([answer["query"], answer["document"]], 1), vectors, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(answer["query"], axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(answer["score"], (vectors[:, :6] * vectors[:, 6:]).sum(1), atol=1e-6)


def test_towers_have_only_their_own_inputs_and_layers(tmp_path):
    model = build(shared=False)
    for role, column in (("query", slice(6)), ("document", slice(6, 12))):
        tower = keras.Model(model.input[role], model.get_layer(f"match_{role}").output)
        assert tower.count_params() == model.count_params() / 2
        expected = model.predict(X, verbose=0)["match"][:, column]
        np.testing.assert_allclose(tower.predict(X[role], verbose=0), expected, atol=1e-6)
    exported = mtl.MultiTaskModel({"query": model.input["query"]}, {"vector": model.get_layer("match_query").output})
    path = mtl.export.saved_model(exported, tmp_path / "query", check=False)
    answer = tf.saved_model.load(str(path)).signatures["serving_default"](query=tf.constant(X["query"]))
    np.testing.assert_allclose(answer["vector"], model.predict(X, verbose=0)["match"][:, :6], atol=1e-6)


def test_towers_restored_from_their_config_share_encoders():
    shared = encoder()
    towers = mtl.encoders.Towers({"a": shared, "b": encoder("other"), "c": shared})
    restored = mtl.encoders.Towers.from_config(towers.get_config())
    assert restored.encoders["a"] is restored.encoders["c"] is not restored.encoders["b"]
    assert restored.encoders["b"].name == "other"
    with pytest.raises(ValueError, match="`encoders` must contain an encoder for at least one input"):
        mtl.encoders.Towers({})


def test_a_key_that_another_begins_with_gets_its_own_inputs():
    towers = mtl.encoders.Towers({"doc": lambda x: x["ids"], "doc_long": lambda x: x["ids"]})
    inputs = {"doc_ids": np.ones((1, 2)), "doc_long_ids": np.zeros((1, 3))}
    features = towers.call(inputs)
    assert (features["doc"].shape, features["doc_long"].shape) == ((1, 2), (1, 3))
    seen = []
    mtl.encoders.Towers({"doc": lambda x: seen.append(sorted(x)) or x["ids"], "doc_long": lambda x: x["ids"]}).call(
        inputs
    )
    assert seen == [["ids"]]


def test_errors():
    with pytest.raises(ValueError, match=r"`features` of task 'm' must be two names.*'pooled'"):
        mtl.tasks.Matching("m", features="pooled")
    trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([4]))
    with pytest.raises(ValueError, match=r"Task 'm' reads features\['query'\].*\['pooled'\].*Towers"):
        mtl.build_model(keras.Input((4,)), trunk, [mtl.tasks.Matching("m")])
    model = build()
    model.compile("sgd")
    with pytest.raises(ValueError, match=r"`y\['match'\]` has shape \(30, 3\)"):
        model.fit(X, {"match": np.zeros((ROWS, 3))}, verbose=0)


def test_hard_negatives_are_columns_and_no_part_of_answers():
    names = ("query", "document", "negative", "other")
    inputs = {name: keras.Input((3,), name=name) for name in names}
    towers = mtl.encoders.Towers({name: mtl.encoders.MLPEncoder([4], name=f"{name}_mlp") for name in names})
    task = mtl.tasks.Matching("match", units=2, features=names, temperature=0.3, document_probabilities=[0.5, 0.2, 0.3])
    model = mtl.build_model(inputs, mtl.trunks.HardSharing(towers), [task])
    model.compile(keras.optimizers.SGD(0.0))
    rng = np.random.default_rng(0)
    x = {name: rng.normal(size=(6, 3)).astype("float32") for name in names}
    y = {"match": np.array([0, 1, 2, 0, 1, 2])}
    output = model.predict(x, verbose=0)["match"]
    assert output.shape == (6, 8)
    logs = model.evaluate(x, y, batch_size=6, verbose=0, return_dict=True)
    loss = mtl.losses.InBatchSoftmax(0.3, hard_negatives=2, probabilities=[0.5, 0.2, 0.3])
    assert logs["match_loss"] == pytest.approx(float(np.mean(loss.call(y["match"], output))), rel=1e-5)
    alone = mtl.metrics.Retrieval(2)
    alone.update_state(y["match"], output[:, :4])
    assert logs["match_mrr"] == pytest.approx(float(alone.result()["mrr"]), rel=1e-5)
    assert sorted(model.answer(x)["match"]) == ["document", "query", "score"]
    projections = {layer.name for layer in model.layers if layer.name.endswith("_projection")}
    assert projections == {"match_query_projection", "match_document_projection"}
    with pytest.raises(ValueError, match=r"`y\['match'\]` must lie in \[0, 2\]"):
        model.evaluate(x, {"match": np.arange(6)}, verbose=0)
