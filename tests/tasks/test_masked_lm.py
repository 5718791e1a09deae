"""Masked language modelling: how tokens are masked, and the task that predicts them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

VOCABULARY, MASK = 40, 3
SPECIAL = [0, 1, 2, MASK]


def texts(rows=64, length=12, seed=0):
    """Token ids: 1, words of up to two tokens, 2, padding; and where words start. Odd tokens follow their even ones."""
    rng = np.random.default_rng(seed)
    ids, starts = np.zeros((rows, length), "int32"), np.zeros((rows, length), "int32")
    for row in range(rows):
        size = rng.integers(2, length - 1)
        ids[row, 0], ids[row, size + 1 if size + 1 < length else length - 1] = 1, 2
        position = 1
        while position <= size and position < length - 1:
            first = 4 + 2 * rng.integers(18)
            ids[row, position], starts[row, position] = first, 1
            if position < min(size, length - 2):
                ids[row, position + 1] = first + 1
            position += 2
    return ids, starts


IDS, STARTS = texts()


def rows_of(data):
    return [np.stack([np.array(part) for part in parts]) for parts in zip(*data, strict=True)]


def masked(ids=IDS, **options):
    data = tf.data.Dataset.from_tensor_slices(ids)
    options = {"special_ids": SPECIAL, "seed": 5, **options}
    data = mtl.data.mask_tokens(data, "mlm", VOCABULARY, MASK, **options)
    return data, rows_of(data.map(lambda x, y, weight: (x, y["mlm"], weight["mlm"])))


def test_shares_of_masked_random_and_unchanged_tokens():
    ids = np.random.default_rng(0).integers(4, VOCABULARY, (400, 50))
    _, (x, y, weight) = masked(ids, rate=0.2)
    np.testing.assert_array_equal(y, ids)
    np.testing.assert_array_equal(x[weight == 0], ids[weight == 0])
    assert weight.mean() == pytest.approx(0.2, abs=0.01)
    new, old = x[weight == 1], ids[weight == 1]
    assert np.mean(new == MASK) == pytest.approx(0.8, abs=0.02)
    assert np.mean(new == old) == pytest.approx(0.1 + 0.1 / 36, abs=0.02)
    assert set(new) - {MASK} == set(range(4, VOCABULARY))


def test_special_tokens_stay():
    _, (x, _, weight) = masked(rate=1.0)
    np.testing.assert_array_equal(weight == 0, np.isin(IDS, SPECIAL))
    np.testing.assert_array_equal(x[weight == 0], IDS[weight == 0])


def test_passes_differ_and_seeds_repeat():
    data, (first, *_) = masked()
    again, _, _ = rows_of(data.map(lambda x, y, weight: (x, y["mlm"], weight["mlm"])))
    assert (first != again).any()
    np.testing.assert_array_equal(masked()[1][0], first)
    assert (masked(seed=6)[1][0] != first).any()


def test_whole_words_and_batches():
    rows = tf.data.Dataset.from_tensor_slices(({"token_ids": IDS, "word_starts": STARTS}, {"topic": IDS[:, 1]}))
    data = mtl.data.mask_tokens(rows.batch(16), "mlm", VOCABULARY, MASK, SPECIAL, rate=0.4, whole_words=True, seed=1)
    chosen = []
    for x, y, weight in data:
        assert x.keys() == {"token_ids", "word_starts"}
        np.testing.assert_array_equal(y["topic"], y["mlm"][:, 1])
        assert weight.keys() == {"mlm"}
        chosen.append(weight["mlm"])
    weight = np.concatenate(chosen)
    second = (STARTS == 0) & ~np.isin(IDS, SPECIAL)
    np.testing.assert_array_equal(weight[:, 1:][second[:, 1:]], weight[:, :-1][second[:, 1:]])
    assert weight[STARTS == 1].mean() == pytest.approx(0.4, abs=0.1)
    with pytest.raises(ValueError, match=r"\['word_starts'\], received token ids alone"):
        masked(whole_words=True)


@pytest.mark.parametrize(
    ("options", "match"), [({"rate": 0}, "`rate`"), ({"special_ids": [40]}, "`special_ids` must be from 0 to 39")]
)
def test_arguments(options, match):
    with pytest.raises(ValueError, match=match):
        masked(**options)


def build():
    keras.utils.set_random_seed(0)
    encoder = mtl.encoders.TransformerEncoder(VOCABULARY, 12, dim=16, layers=1, heads=2, dropout=0.0, token_table=True)
    tasks = [mtl.tasks.MaskedLM("mlm", VOCABULARY), mtl.tasks.Classification("first", VOCABULARY)]
    model = mtl.build_model(keras.Input((12,), dtype="int32"), mtl.trunks.HardSharing(encoder), tasks)
    return model, keras.optimizers.SGD(0.1)


def batches():
    data = mtl.data.mask_tokens(
        tf.data.Dataset.from_tensor_slices((IDS, {"first": IDS[:, 1]})), "mlm", VOCABULARY, MASK, SPECIAL, seed=1
    )
    return data.batch(16)


def test_the_head_is_tied_to_the_table(tmp_path):
    model, _ = build()
    encoder = model.get_layer("transformer_encoder")
    table = encoder.stages[0].embedding.token_embedding.embeddings
    assert any(v is table for v in mtl.partition(model).shared)
    table.assign(np.random.default_rng(0).normal(size=table.shape))
    model.get_layer("mlm").bias.assign(np.arange(VOCABULARY))
    middle = keras.Model(model.input, model.get_layer("mlm_normalization").output)(IDS)
    expected = np.array(middle) @ np.array(table).T + np.arange(VOCABULARY)
    np.testing.assert_allclose(model(IDS)["mlm"], expected, rtol=1e-4, atol=1e-4)
    model.compile("sgd")
    model.fit(batches(), verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded(IDS)["mlm"], model(IDS)["mlm"])
    loaded.get_layer("transformer_encoder").stages[0].embedding.token_embedding.embeddings.assign(0 * table)
    logits = np.array(loaded(IDS)["mlm"])
    np.testing.assert_array_equal(logits, np.broadcast_to(logits[0, 0], logits.shape))  # the bias alone: still tied


def test_loss_and_perplexity_count_masked_positions_alone():
    model, _ = build()
    model.compile("sgd")
    x, y, weight = rows_of(batches().unbatch().map(lambda x, y, weight: (x, y["mlm"], weight["mlm"])))
    results = model.evaluate(
        x, {"mlm": y, "first": x[:, 1]}, sample_weight={"mlm": weight}, verbose=0, return_dict=True
    )
    logits = np.array(model(x)["mlm"], "float64")
    loss = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, y[..., None], -1)[..., 0]
    assert results["mlm_loss"] == pytest.approx(loss[weight == 1].mean(), rel=1e-4)
    assert results["mlm_perplexity"] == pytest.approx(np.exp(loss[weight == 1].mean()), rel=1e-4)
    assert results["mlm_accuracy"] == pytest.approx((logits.argmax(-1) == y)[weight == 1].mean(), abs=1e-6)


@pytest.mark.parametrize("options", [{}, {"balancing": "upgrad"}])
def test_two_replicas_equal_one(options):
    results = []
    for kind in ("one_device", "mirrored"):
        with mtl.distribute.strategy(kind).scope():
            model, optimizer = build()
        model.compile(optimizer, **options)
        model.fit(batches(), epochs=2, verbose=0)
        results.append(model.get_weights())
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-5)


def test_learns_with_a_source_that_has_no_texts_to_mask():
    """In a mixture, the rows of the labelled source are not masked, and an odd token is known from its neighbour."""
    model, _ = build()
    labelled = tf.data.Dataset.from_tensor_slices((IDS, {"first": IDS[:, 1]}))
    unlabelled = mtl.data.mask_tokens(
        tf.data.Dataset.from_tensor_slices(texts(512, seed=1)[0]), "mlm", VOCABULARY, MASK, SPECIAL, seed=2
    )
    mixture = mtl.data.mix({"labelled": labelled, "texts": unlabelled}, batch_size=32, rates="proportional", seed=3)
    seen = {tuple(x.numpy()) for x, _, weight in mixture.take(40).unbatch() if weight["first"] > 0}
    assert seen <= {tuple(row) for row in IDS}
    model.compile(keras.optimizers.Adam(0.01))
    history = model.fit(mixture, epochs=12, verbose=0).history
    assert history["mlm_perplexity"][-1] < 0.5 * history["mlm_perplexity"][0]
    assert history["first_accuracy"][-1] > 0.5


def test_a_backbone():
    import keras_hub

    backbone = keras_hub.models.BertBackbone(
        VOCABULARY, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16, max_sequence_length=12
    )
    encoder = mtl.encoders.BackboneEncoder(backbone, token_table=True)
    inputs = {name: keras.Input((12,), dtype="int32", name=name) for name in ("token_ids", "padding_mask")}
    model = mtl.build_model(inputs, mtl.trunks.HardSharing(encoder), [mtl.tasks.MaskedLM("mlm", VOCABULARY)])
    before = np.array(backbone.token_embedding.embeddings)
    model.compile("sgd")
    model.fit({"token_ids": IDS, "padding_mask": IDS > 0}, {"mlm": IDS}, verbose=0)
    after = np.array(backbone.token_embedding.embeddings)
    assert (before[VOCABULARY - 1] != after[VOCABULARY - 1]).any()
    answer = model.answer({"token_ids": IDS, "padding_mask": IDS > 0})["mlm"]
    assert answer["tokens"].shape == answer["scores"].shape == IDS.shape


def test_what_does_not_fit():
    model = keras.Input((12,), dtype="int32")
    plain = mtl.encoders.TransformerEncoder(VOCABULARY, 12, dim=8, layers=1, heads=2)
    with pytest.raises(ValueError, match="`token_table=True`.*or set tied=False"):
        mtl.build_model(model, mtl.trunks.HardSharing(plain), [mtl.tasks.MaskedLM("mlm", VOCABULARY)])
    other = mtl.encoders.TransformerEncoder(VOCABULARY, 12, dim=8, layers=1, heads=2, token_table=True)
    with pytest.raises(ValueError, match=r"must be that of the encoder's table.*\(40, 8\), received 30"):
        mtl.build_model(model, mtl.trunks.HardSharing(other), [mtl.tasks.MaskedLM("mlm", 30)])


def test_perplexity_is_that_of_keras_hub():
    import keras_hub

    rng = np.random.default_rng(0)
    logits, weight = rng.normal(size=(3, 4, 7)).astype("float32"), rng.random((3, 4)).astype("float32")
    labels = rng.integers(7, size=(3, 4))
    ours, theirs = mtl.metrics.Perplexity(), keras_hub.metrics.Perplexity(from_logits=True)
    assert float(ours.result()) == 0
    for metric in (ours, theirs):
        metric.update_state(labels[:2], logits[:2], weight[:2])
        metric.update_state(labels[2:], logits[2:], weight[2:])
    assert float(ours.result()) == pytest.approx(float(theirs.result()), rel=1e-5)


def test_a_tied_head_needs_gradients_of_parameters():
    encoder = mtl.encoders.TransformerEncoder(VOCABULARY, 12, dim=8, layers=1, heads=2, token_table=True)
    tasks = [mtl.tasks.MaskedLM("mlm", VOCABULARY), mtl.tasks.Tagging("tags", 3, scheme="none")]
    model = mtl.build_model(keras.Input((12,), dtype="int32"), mtl.trunks.HardSharing(encoder), tasks)
    with pytest.raises(ValueError, match=r"of the shape \(40, 8\), such as the table of a tied head"):
        model.compile("sgd", balancing="upgrad", gradients="features")
