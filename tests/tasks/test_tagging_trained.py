"""Training with Tagging: on two replicas, in micro-batches, and in trunks that return sequences."""

import contextlib
import gc

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.saving.serialization_lib import ObjectSharingScope

import tf_mtl as mtl
from tf_mtl.encoders import _recurrent as recurrent

SLOTS = ["O", "B-a", "I-a", "B-b"]
ROWS, STEPS = 13, 7


def encoder(layers=1):
    return mtl.encoders.RecurrentEncoder(20, dim=6, units=5, layers=layers, dropout=0.0, name="encoder")


def inputs():
    names = ("token_ids", "padding_mask", "word_starts")
    return {name: keras.Input((None,), dtype="int32", name=name) for name in names}


def tasks():
    return [
        mtl.tasks.Tagging("slots", SLOTS, crf=True),
        mtl.tasks.Tagging("pos", 4, scheme="none"),
        mtl.tasks.Classification("intent", 3),
    ]


def rows():
    """Sentences of 0 to 7 tokens. Some words, some sentences and the last rows lack slots."""
    rng = np.random.default_rng(0)
    is_token = np.arange(STEPS) < rng.integers(0, STEPS + 1, ROWS)[:, None]
    word_starts = is_token & (rng.random((ROWS, STEPS)) < 0.7)
    is_word = np.arange(STEPS) < word_starts.sum(1, keepdims=True)
    x = {
        "token_ids": np.where(is_token, rng.integers(1, 20, (ROWS, STEPS)), 0),
        "padding_mask": is_token.astype("int32"),
        "word_starts": word_starts.astype("int32"),
    }
    has_slot_label = is_word * (rng.random((ROWS, STEPS)) < 0.8) * (np.arange(ROWS) < 9)[:, None]
    y = {
        "slots": np.where(has_slot_label, rng.integers(0, 4, (ROWS, STEPS)), -7),
        "pos": np.where(is_word, rng.integers(0, 4, (ROWS, STEPS)), 99),
        "intent": rng.integers(0, 3, ROWS),
    }
    weight = {
        "slots": has_slot_label.astype("float32"),
        "pos": is_word.astype("float32"),
        "intent": np.ones(ROWS, "float32"),
    }
    return x, y, weight


DATA = tf.data.Dataset.from_tensor_slices(rows()).batch(5)


def trained(balancing, scope=contextlib.nullcontext, **options):
    keras.utils.set_random_seed(1)
    with scope():
        model = mtl.build_model(inputs(), mtl.trunks.HardSharing(encoder()), tasks())
        metrics = {"slots": [mtl.metrics.SpanF1(SLOTS, per_type=True)], "pos": ["accuracy"], "intent": []}
        options = {"metrics": metrics, "joint_metrics": [mtl.metrics.FrameAccuracy(["slots", "intent"])], **options}
        model.compile(keras.optimizers.Adam(0.02), balancing=balancing, **options)
    return model, model.fit(DATA, epochs=3, verbose=0).history


@pytest.mark.parametrize("balancing", ["equal", pytest.param("upgrad", marks=pytest.mark.slow)])
def test_two_replicas_equal_one(balancing):
    models, histories = zip(
        trained(balancing), trained(balancing, mtl.distribute.strategy("mirrored").scope), strict=True
    )
    results, results_of_two = (
        {**history, **model.evaluate(DATA, verbose=0, return_dict=True)}
        for model, history in zip(models, histories, strict=True)
    )
    for one, two in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(two, one, atol=2e-5)
    assert (
        results.keys()
        == results_of_two.keys()
        >= {"slots_span_f1_a", "slots_span_f1_b", "frame_accuracy", "pos_accuracy"}
    )
    for name, value in results.items():
        if not name.startswith(("cosine", "conflict", "weight")):
            np.testing.assert_allclose(results_of_two[name], value, atol=1e-4, err_msg=name)
    assert results["slots_span_f1"] > 0


@pytest.mark.slow
def test_micro_batches_equal_one_batch():
    without_metrics = {"metrics": {"slots": [], "pos": [], "intent": []}, "joint_metrics": None}
    whole, _ = trained("equal", **without_metrics)
    divided, _ = trained("equal", accumulate=3, **without_metrics)
    for expected, weight in zip(whole.get_weights(), divided.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, atol=2e-5)


TRUNKS = {
    "soft": lambda: mtl.trunks.SoftSharing(encoder()),
    "cross-stitch": lambda: mtl.trunks.CrossStitch(encoder(layers=2)),
    "hierarchical": lambda: mtl.trunks.Hierarchical(encoder(layers=2), {"pos": 1, "slots": 2, "intent": 2}),
    "transformer": lambda: mtl.trunks.HardSharing(
        mtl.encoders.TransformerEncoder(20, STEPS, dim=8, layers=1, heads=2, dropout=0.0)
    ),
}


@pytest.mark.parametrize(
    "trunk", [pytest.param(name, marks=pytest.mark.slow if name in ("soft", "cross-stitch") else ()) for name in TRUNKS]
)
def test_trunks_pass_on_where_words_start(trunk, tmp_path):
    """There are as many decoded tags as words, however many sub-words these have, and a loaded model gives the same."""
    keras.utils.set_random_seed(1)
    model = mtl.build_model(inputs(), TRUNKS[trunk](), tasks())
    model.compile(keras.optimizers.Adam(0.02))
    x, y, weight = rows()
    losses = model.fit(x, y, sample_weight=weight, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    answers = model.decode(model.predict(x, verbose=0))
    for task in ("slots", "pos"):
        np.testing.assert_array_equal((answers[task]["tags"] != "").sum(1), x["word_starts"].sum(1))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for task, output in model.predict(x, verbose=0).items():
        np.testing.assert_array_equal(loaded.predict(x, verbose=0)[task], output)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = mtl.build_model(inputs(), mtl.trunks.HardSharing(encoder()), tasks())
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile(keras.optimizers.Adam(0.02))
    x, y, weight = rows()
    losses = model.fit(x, y, sample_weight=weight, epochs=8, verbose=0).history["slots_loss"]
    assert losses[-1] < losses[0]
    assert {output.dtype for output in model.predict(x, verbose=0).values()} == {np.dtype("float32")}


def test_a_batch_of_empty_sentences():
    """The loss is 0, and no weight changes. The sequence axis of such a batch has the length 1."""
    words = mtl.text.Words(["a"], 4)
    recurrent_encoder = mtl.encoders.RecurrentEncoder(words.vocabulary_size, dim=3, units=3)
    model = mtl.build_model(words.inputs(), mtl.trunks.HardSharing(recurrent_encoder), tasks()[:2])
    model.compile("adam")
    spec = {"words": tf.TensorSpec([None], tf.string), "pos": tf.TensorSpec([None], tf.int32)}
    spec["slots"] = spec["pos"]
    empty = [{name: [] for name in spec}] * 3
    records = tf.data.Dataset.from_generator(lambda: iter(empty), output_signature=spec)
    batches = mtl.data.batch_by_length(mtl.data.encode_text(records, words, tasks()[:2]), 3, [1, 4])
    before = model.get_weights()
    assert model.fit(batches, verbose=0).history["loss"] == [0.0]
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert (model.decode(model.predict(batches.map(lambda x, *labels: x), verbose=0))["slots"]["tags"] == "").all()


def test_a_backbone_tags_the_first_subwords(tmp_path):
    import keras_hub

    bert = keras_hub.models.BertBackbone(20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
    model = mtl.build_model(inputs(), mtl.trunks.HardSharing(mtl.encoders.BackboneEncoder(bert)), tasks()[:2])
    x, *_ = rows()
    tokens = {"token_ids": x["token_ids"], "padding_mask": x["padding_mask"], "segment_ids": 0 * x["token_ids"]}
    sequence = bert(tokens)["sequence_output"].numpy()
    head = model.get_layer("pos_scores")
    outputs = model.predict(x, verbose=0)
    for row, starts in enumerate(x["word_starts"] == 1):
        expected = head(sequence[row][starts]).numpy()
        np.testing.assert_allclose(outputs["pos"][row, : starts.sum()], expected, atol=1e-5)
        assert (outputs["pos"][row, starts.sum() :] == -1e9).all()
    model.save(tmp_path / "model.keras")
    loaded_outputs = keras.models.load_model(tmp_path / "model.keras").predict(x, verbose=0)
    np.testing.assert_array_equal(loaded_outputs["slots"], outputs["slots"])


@pytest.mark.parametrize("trunk", ["soft", "cross-stitch"])
def test_copies_start_from_the_given_embedding_matrix(trunk):
    matrix = np.random.default_rng(0).normal(size=(20, 6)).astype("float32")
    recurrent_encoder = mtl.encoders.RecurrentEncoder(20, dim=6, units=3, layers=2, embeddings=matrix)
    trunks = {"soft": mtl.trunks.SoftSharing, "cross-stitch": mtl.trunks.CrossStitch}
    model = mtl.build_model(inputs(), trunks[trunk](recurrent_encoder), tasks()[:2])
    tables = [v for v in model.weights if v.name == "embeddings"]
    assert len(tables) == 2
    for table in tables:
        np.testing.assert_array_equal(table, matrix)


def test_a_given_embedding_matrix():
    matrix = np.random.default_rng(0).normal(size=(20, 6)).astype("float32")
    recurrent_encoder = mtl.encoders.RecurrentEncoder(20, dim=6, units=3, dropout=0.0, embeddings=matrix)
    recurrent_encoder(np.array([[3, 0]]))
    np.testing.assert_array_equal(recurrent_encoder.stages[0].embedding.embeddings, matrix)
    with pytest.raises(ValueError, match=r"\(20, 6\), received \(19, 6\)"):
        mtl.encoders.RecurrentEncoder(20, dim=6, embeddings=matrix[1:])
    with pytest.raises(ValueError, match="'lstm' or 'gru'"):
        mtl.encoders.RecurrentEncoder(20, cell="rnn")


def test_padding_changes_nothing():
    recurrent_encoder = encoder()
    ids = np.array([[3, 5, 2]])
    short, long = recurrent_encoder(ids), recurrent_encoder(np.pad(ids, [[0, 0], [0, 4]]))
    np.testing.assert_allclose(long["sequence"][:, :3], short["sequence"], atol=1e-6)
    np.testing.assert_allclose(long["pooled"], short["pooled"], atol=1e-6)
    masked = recurrent_encoder({"token_ids": np.array([[3, 5, 2, 9]]), "padding_mask": np.array([[1, 1, 1, 0]])})
    np.testing.assert_allclose(masked["pooled"], short["pooled"], atol=1e-6)


def test_layers_are_not_confused_if_garbage_is_collected_while_a_model_loads():
    """While a model is loaded, Keras confuses a layer with a deleted one at the same address."""
    stages = []
    gc.freeze()  # so that a collection looks at the objects of this test only
    with ObjectSharingScope():  # as `load_model` does
        for index in range(60):
            stages.append(recurrent.RecurrentStage(5, "lstm", 0.0, name=f"stage_{index}"))
            gc.collect()
    gc.unfreeze()
    assert (
        len({id(layer) for stage in stages for layer in (stage.layer.forward_layer, stage.layer.backward_layer)}) == 120
    )
