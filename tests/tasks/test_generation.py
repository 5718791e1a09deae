"""Generated texts: what a decoder is trained on, what it writes, and what others are served without it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

SOURCE = ["a man rides", "two dogs run", "a woman", "dogs"]
TARGET = ["ein Mann reitet", "zwei Hunde rennen", "eine Frau", ""]
LENGTH = 16
END = 3


@pytest.fixture(scope="module")
def tokenizer():
    return mtl.text.learn_tokenizer(TARGET * 5, 300, special_tokens=["<de>", "<en>"])


@pytest.fixture(scope="module")
def words():
    return mtl.text.Words.learn(SOURCE, length=5)


def small_decoder(tokenizer, name="decoder"):
    return mtl.layers.Decoder(tokenizer.vocabulary_size(), LENGTH, dim=8, layers=1, heads=2, dropout=0.0, name=name)


def three_tasks(tokenizer):
    decoder = small_decoder(tokenizer)
    return [
        mtl.tasks.Generation("german", tokenizer, LENGTH, decoder, start="<de>"),
        mtl.tasks.LanguageModel("texts", tokenizer, decoder),
        mtl.tasks.Classification("kind", labels=["a", "b"]),
    ]


def build(tokenizer, words, tasks=None, rate=0.01, strategy=None, **options):
    keras.utils.set_random_seed(3)
    with (strategy or tf.distribute.get_strategy()).scope():
        made = three_tasks(tokenizer) if tasks is None else tasks() if callable(tasks) else tasks
        encoder = mtl.encoders.TransformerEncoder(
            words.vocabulary_size, max_length=5, dim=8, layers=1, heads=2, dropout=0.0
        )
        trunk = mtl.trunks.HardSharing(encoder)
        model = mtl.build_model(words.inputs(), trunk, made)
        model.compile(keras.optimizers.SGD(rate), **options)
    return model


def rows(words, tasks):
    """Inputs, labels and weights as arrays; the last row has no German, and no kind."""
    records = {"text": SOURCE, "german": TARGET, "texts": TARGET[::-1], "kind": ["a", "b", "a", ""]}
    data = mtl.data.encode_text(tf.data.Dataset.from_tensor_slices(records), words, tasks, text="text")
    return tf.nest.map_structure(lambda x: x.numpy(), next(iter(data.padded_batch(4))))


def log_softmax(x):
    return x - np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)) - x.max(-1, keepdims=True)


def test_labels_are_tokens_with_an_end(tokenizer, words):
    model = build(tokenizer, words)
    _, y, weight = rows(words, model.tasks)
    for row, text in enumerate(TARGET[:3]):
        ids = y["german"][row][weight["german"][row] > 0].tolist()
        assert ids[-1] == END
        assert tokenizer.detokenize(ids[:-1]) == text
    assert not weight["german"][3].any()
    short = mtl.tasks.Generation("german", tokenizer, 3)
    records = tf.data.Dataset.from_tensor_slices({"text": SOURCE, "german": TARGET})
    with pytest.warns(UserWarning, match=r"longer than its `length` and were truncated: 3 of 'german'"):
        data = mtl.data.encode_text(records, words, [short], text="text")
    y = next(iter(data.padded_batch(4)))[1]["german"].numpy()
    assert y.shape == (4, 3)
    assert END not in y
    records = tf.data.Dataset.from_tensor_slices({"text": SOURCE, "german": [1, 2, 3, 4]})
    with pytest.raises(ValueError, match="labels of task 'german' must be texts"):
        mtl.data.encode_text(records, words, [short], text="text")


def test_the_loss_is_that_of_labelled_tokens_whatever_stands_behind_them(tokenizer, words):
    model = build(tokenizer, words)
    x, y, weight = rows(words, model.tasks)
    fed = {"german_tokens": y["german"], "texts_tokens": y["texts"]}
    outputs = {task: output.numpy() for task, output in model({**x, **fed}, training=False).items()}
    logs = model.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)
    for task in ("german", "texts"):
        counted = weight[task] > 0
        of_tokens = -np.take_along_axis(log_softmax(outputs[task]), y[task][..., None], -1)[..., 0]
        assert logs[f"{task}_loss"] == pytest.approx(of_tokens[counted].mean(), rel=1e-5)
        assert logs[f"{task}_perplexity"] == pytest.approx(np.exp(of_tokens[counted].mean()), rel=1e-5)
        accuracy = (outputs[task].argmax(-1) == y[task])[counted].mean()
        assert logs[f"{task}_accuracy"] == pytest.approx(accuracy)
    # without weights, what stands behind the end does not count either
    rows_with_german = {name: value[:3] for name, value in x.items()}
    alone = model.single_task("german")
    alone.compile("sgd")
    plain = alone.evaluate(rows_with_german, {"german": y["german"][:3]}, verbose=0, return_dict=True)
    assert plain["german_loss"] == pytest.approx(logs["german_loss"], rel=1e-5)
    anything = np.where(weight["german"] > 0, y["german"], np.nan)
    given = model.evaluate(x, {**y, "german": anything}, sample_weight=weight, verbose=0, return_dict=True)
    assert given["german_loss"] == pytest.approx(logs["german_loss"], rel=1e-6)


def test_labels_of_weight_0_may_hold_anything(tokenizer, words):
    model = build(tokenizer, words)
    x, y, weight = rows(words, model.tasks)
    weight["german"][:, :2] = 0
    losses = []
    for value in (-100, 7, END, 10**6):
        german = np.where(weight["german"] > 0, y["german"], value)
        logs = model.evaluate(x, {**y, "german": german}, sample_weight=weight, verbose=0, return_dict=True)
        losses.append(logs["german_loss"])
    assert losses[0] > 1
    assert losses == [losses[0]] * 4


def test_sources_and_texts_of_any_length(tokenizer):
    long = mtl.text.Words.learn(SOURCE, length=40)
    texts = (
        {"text": ["a man rides " * 12] * 2, "german": ["eine Frau", ""]},
        {"text": ["a"] * 2, "german": ["ein Mann reitet"] * 2},
    )
    task = mtl.tasks.Generation("german", tokenizer, LENGTH)
    for records in texts:
        encoder = mtl.encoders.RecurrentEncoder(long.vocabulary_size, dim=6, units=4, dropout=0.0)
        model = mtl.build_model(long.inputs(), mtl.trunks.HardSharing(encoder), [task])
        model.compile("sgd", run_eagerly=True)
        data = mtl.data.encode_text(tf.data.Dataset.from_tensor_slices(records), long, [task], text="text")
        padded = model.evaluate(data.padded_batch(2), verbose=0)
        np.testing.assert_allclose(model.evaluate(mtl.data.batch_by_length(data, 2), verbose=0), padded, rtol=1e-5)


def test_a_token_does_not_see_itself_or_later_ones(tokenizer, words):
    model = build(tokenizer, words)
    x, y, _ = rows(words, model.tasks)
    changed = y["german"].copy()
    changed[:, 4:] = 7
    fed = [{**x, "german_tokens": tokens, "texts_tokens": y["texts"]} for tokens in (y["german"], changed)]
    first, second = (model(inputs, training=False)["german"].numpy() for inputs in fed)
    np.testing.assert_allclose(first[:, :5], second[:, :5], atol=1e-6)
    assert np.abs(first[:, 5:] - second[:, 5:]).max() > 1e-3


SAMPLERS = [mtl.samplers.Greedy(), mtl.samplers.Beam(3), mtl.samplers.TopK(5, seed=1)]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: type(sampler).__name__)
def test_generated_log_probabilities_are_those_of_a_decoder_without_cache(tokenizer, words, sampler):
    task = mtl.tasks.Generation("german", tokenizer, LENGTH, start="<de>", sampler=sampler)
    model = build(tokenizer, words, [task])
    model.fit(*rows(words, [task])[:2], epochs=3, verbose=0)
    x = words(tf.constant([*SOURCE, ""]))
    generated = model.predict(x, verbose=0)["german"]
    assert generated.shape == (5, LENGTH, 2)
    tokens, log_probabilities = generated[..., 0].astype("int32"), generated[..., 1]
    of_all = log_softmax(model({**x, "german_tokens": tf.constant(tokens)}, training=False)["german"].numpy())
    expected = np.take_along_axis(of_all, tokens[..., None], -1)[..., 0]
    written = np.cumsum(tokens == END, 1) - (tokens == END) == 0
    np.testing.assert_allclose(log_probabilities[written], expected[written], rtol=1e-4, atol=1e-5)
    assert (tokens[~written] == 0).all()
    if isinstance(sampler, mtl.samplers.Greedy):
        np.testing.assert_array_equal(tokens[written], of_all.argmax(-1)[written])
    answer = model.answer([*SOURCE, ""], words)["german"]
    for row in range(5):
        text = [t for t in tokens[row][written[row]] if t != END]
        # NumPy's strings lose a NUL at their end
        assert answer["text"][row] == tokenizer.detokenize([[int(t) for t in text]])[0].rstrip("\0")
        assert answer["score"][row] == pytest.approx(np.exp(log_probabilities[row][written[row]].mean()), rel=1e-4)


@pytest.mark.slow
def test_it_learns_to_translate_and_is_served(tokenizer, words, tmp_path):
    model = build(tokenizer, words)
    model.compile(keras.optimizers.Adam(0.02))
    x, y, weight = rows(words, model.tasks)
    model.fit(x, y, sample_weight=weight, epochs=120, batch_size=4, verbose=0)
    answer = model.answer(SOURCE, words)
    assert answer["german"]["text"].tolist()[:3] == TARGET[:3]
    assert answer["german"]["score"][:3].min() > 0.8
    assert set(answer["texts"]["text"]) <= set(TARGET)
    path = mtl.export.saved_model(model, tmp_path / "export", preprocessor=words.with_length(5), warmup=SOURCE)
    served = tf.saved_model.load(str(path)).signatures
    answers = served["serving_default"](text=tf.constant(SOURCE))
    assert [text.decode() for text in answers["german_text"].numpy()] == answer["german"]["text"].tolist()
    np.testing.assert_allclose(answers["german_score"], answer["german"]["score"], rtol=1e-4)
    assert set(served["kind"].structured_outputs) == {"kind_label", "kind_score"}
    assert "While" in str(served["german"].graph.as_graph_def())
    assert "While" not in str(served["kind"].graph.as_graph_def())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.answer(SOURCE, words)["german"]["text"], answer["german"]["text"])
    before = loaded.evaluate(x, y, sample_weight=weight, verbose=0)
    np.testing.assert_allclose(before, model.evaluate(x, y, sample_weight=weight, verbose=0), rtol=1e-5)
    loaded.fit(x, y, sample_weight=weight, verbose=0)
    assert len({id(v) for v in loaded.get_layer("decoder").weights}) == len(model.get_layer("decoder").weights)


def test_a_language_model_neither_reads_nor_trains_the_encoder(tokenizer, words):
    model = build(tokenizer, words)
    parts = mtl.partition(model)
    shared = {v.path.split("/")[0] for v, tasks in zip(parts.shared, parts.sharers, strict=True) if "texts" in tasks}
    assert shared == {"decoder"}
    x, y, weight = rows(words, model.tasks)
    of_texts = [model({**x, "texts_tokens": y["texts"]}, training=False)["texts"].numpy()]
    other = {name: np.roll(value, 1, 0) for name, value in x.items()}
    of_texts.append(model({**other, "texts_tokens": y["texts"]}, training=False)["texts"].numpy())
    np.testing.assert_array_equal(*of_texts)
    nothing = {task: np.zeros_like(w) for task, w in weight.items()}
    encoder = model.get_layer("transformer_encoder")
    before = encoder.get_weights()
    model.fit(x, y, sample_weight={**nothing, "texts": weight["texts"]}, verbose=0)
    for old, new in zip(before, encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("balancing", "gradients"),
    [("upgrad", "parameters"), pytest.param("upgrad", "features", marks=pytest.mark.slow)],
)
def test_two_replicas_and_micro_batches_equal_one_device(tokenizer, words, balancing, gradients):
    def two_decoders():  # a shared one is read twice, so that its users have no tensor in common for "features"
        return [
            mtl.tasks.Generation(name, tokenizer, LENGTH, small_decoder(tokenizer, f"{name}_decoder"))
            for name in ("german", "texts")
        ]

    models = []
    ways = [{}, {"strategy": mtl.distribute.strategy("mirrored")}]
    ways += [{"accumulate": 2}] if gradients == "parameters" else []
    for options in ways:
        tasks = two_decoders if gradients == "features" else None
        models.append(build(tokenizer, words, tasks, 0.1, balancing=balancing, gradients=gradients, **options))
    x, y, weight = rows(words, models[0].tasks)
    for model in models:
        model.fit(x, y, sample_weight=weight, batch_size=4, epochs=2, shuffle=False, verbose=0)
    for model in models[1:]:
        for one, other in zip(models[0].get_weights(), model.get_weights(), strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)
    of_two = models[1].predict(x, verbose=0)["german"]
    np.testing.assert_array_equal(of_two[..., 0], models[0].predict(x, verbose=0)["german"][..., 0])


def test_evaluation_measures_generated_texts(tokenizer, words):
    import sacrebleu

    metrics = [mtl.metrics.Bleu(), mtl.metrics.ChrF()]
    german = mtl.tasks.Generation("german", tokenizer, LENGTH, text_metrics=metrics)
    model = build(tokenizer, words, [german, mtl.tasks.Classification("kind", labels=["a", "b"])])
    model.compile(keras.optimizers.Adam(0.02))
    x, y, weight = rows(words, model.tasks)
    history = model.fit(
        x, y, sample_weight=weight, epochs=40, verbose=0, validation_data=(x, y, weight), validation_freq=40
    ).history
    assert "german_bleu" not in history
    texts = model.answer(SOURCE, words)["german"]["text"].tolist()[:3]
    expected = sacrebleu.corpus_bleu(texts, [TARGET[:3]]).score, sacrebleu.corpus_chrf(texts, [TARGET[:3]]).score
    assert expected[1] > 0
    assert (history["val_german_bleu"][0], history["val_german_chrf"][0]) == pytest.approx(expected, rel=1e-5)
    logs = model.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True, batch_size=1)
    assert (logs["german_bleu"], logs["german_chrf"]) == pytest.approx(expected, rel=1e-5)
    tested = model.test_on_batch(x, y, weight, return_dict=True)
    assert tested["german_chrf"] == pytest.approx(expected[1], rel=1e-5)
    assert "german_bleu" not in model.train_on_batch(x, y, weight, return_dict=True)


def test_embeddings_tied_to_the_encoder_s():
    tokenizer = mtl.text.learn_tokenizer(TARGET * 5, 300)  # the seeds of other tests unload the model of another one
    subwords = mtl.text.Subwords(tokenizer, length=8)
    size = tokenizer.vocabulary_size()
    encoder = mtl.encoders.TransformerEncoder(size, max_length=8, dim=8, layers=1, heads=2, token_table=True)
    decoder = mtl.layers.Decoder(size, LENGTH, dim=8, layers=1, heads=2)
    task = mtl.tasks.Generation("german", tokenizer, LENGTH, decoder, tied=True)
    model = mtl.build_model(subwords.inputs(), mtl.trunks.HardSharing(encoder), [task])
    assert sum(tuple(v.shape) == (size, 8) for v in model.weights) == 1
    model.compile(keras.optimizers.Adam(0.01))
    x, y, weight = rows(subwords, [task])
    history = model.fit(x, y, sample_weight=weight, epochs=8, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert model.answer(SOURCE, subwords)["german"]["text"].shape == (4,)
    plain = mtl.encoders.TransformerEncoder(size, max_length=8, dim=8, layers=1, heads=2)
    with pytest.raises(ValueError, match="Task 'german' reads features.'token_table'"):
        mtl.build_model(subwords.inputs(), mtl.trunks.HardSharing(plain), [task])
    narrow = mtl.tasks.Generation(
        "german", tokenizer, LENGTH, mtl.layers.Decoder(size, LENGTH, dim=4, heads=2), tied=True
    )
    with pytest.raises(ValueError, match=r"table of token embeddings must have the shape \(\d+, 4\)"):
        mtl.build_model(subwords.inputs(), mtl.trunks.HardSharing(encoder), [narrow])


def test_a_decoder_adds_scaled_tokens_and_positions(tokenizer):
    decoder = small_decoder(tokenizer)
    memory, tokens = np.ones((2, 3, 8), "float32"), np.array([[5, 7, 9], [6, END, 0]])
    logits = decoder(memory, tokens=tokens, start=2).numpy()
    table, positions = decoder.embedding.embeddings.numpy(), decoder.positions.position_embeddings.numpy()
    x = table[[[2, 5, 7], [2, 6, END]]] * np.sqrt(8) + positions[:3]
    x = decoder.normalization(decoder.blocks[0](x.astype("float32"), memory)).numpy()
    np.testing.assert_allclose(logits, x @ table.T, rtol=1e-4, atol=1e-5)


def test_a_decoder_has_one_table(tokenizer):
    subwords, size = mtl.text.Words.learn(SOURCE, length=5), tokenizer.vocabulary_size()
    encoder = mtl.encoders.TransformerEncoder(size, max_length=5, dim=8, layers=1, heads=2, token_table=True)
    decoder = small_decoder(tokenizer)
    tasks = [
        mtl.tasks.Generation("german", tokenizer, LENGTH, decoder, tied=True),
        mtl.tasks.LanguageModel("texts", tokenizer, decoder),
    ]
    for order in (tasks, tasks[::-1]):
        with pytest.raises(ValueError, match="must all have tied=True, or all tied=False"):
            mtl.build_model(subwords.inputs(), mtl.trunks.HardSharing(encoder), order)


def test_bad_arguments(tokenizer, words):
    with pytest.raises(TypeError, match="`text_metrics` of task 't' must be a list of metrics"):
        mtl.tasks.Generation("t", tokenizer, text_metrics=["bleu"])
    with pytest.raises(ValueError, match="has the name of another metric"):
        mtl.tasks.Generation("t", tokenizer, text_metrics=[mtl.metrics.Bleu(name="accuracy")])
    with pytest.raises(ValueError, match="`kernel_regularizer` of task 't' is not supported"):
        mtl.tasks.Generation("t", tokenizer, kernel_regularizer="l2")
    size = tokenizer.vocabulary_size()
    with pytest.raises(TypeError, match="`tokenizer` must be one of keras_hub"):
        mtl.tasks.Generation("t", "german")
    for make in (mtl.tasks.Generation, mtl.tasks.LanguageModel):
        with pytest.raises(TypeError, match="`decoder` of task 't' must be a tf_mtl.layers.Decoder or"):
            make("t", tokenizer, decoder=keras.layers.Dense(3))
    with pytest.raises(TypeError, match="`sampler` of task 't' must be one of tf_mtl.samplers"):
        mtl.tasks.Generation("t", tokenizer, sampler="greedy")
    with pytest.raises(ValueError, match=r"`decoder` of task 't' must have vocabulary_size=\d+.*received 9 and 4"):
        mtl.tasks.Generation("t", tokenizer, 4, mtl.layers.Decoder(9, 4))
    with pytest.raises(ValueError, match="`dim` must be a multiple of `heads`"):
        mtl.layers.Decoder(size, 4, dim=6, heads=4)
    with pytest.raises(ValueError, match=r"reads a sequence \[B, S, D\], but features\['pooled'\]"):
        build(tokenizer, words, [mtl.tasks.Generation("t", tokenizer, features="pooled")])
    model = build(tokenizer, words, [mtl.tasks.Generation("t", tokenizer, 4)])
    x, _, _ = rows(words, [])
    with pytest.raises(ValueError, match="must have at most `length` = 4 tokens of a text"):
        model.fit(x, {"t": np.full((4, 6), 7)}, verbose=0)
    padded = np.array([[7, 9, 3, 0, 0, 0]] * 4)
    short = model.evaluate(x, {"t": padded[:, :4]}, verbose=0)
    np.testing.assert_allclose(model.evaluate(x, {"t": padded}, verbose=0), short, rtol=1e-6)
