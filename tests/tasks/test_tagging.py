"""Tagging compared with values by hand: words of sub-words, losses, spans, legal paths, spans in the text."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from seqeval.metrics.sequence_labeling import get_entities

import tf_mtl as mtl

TAGS = ["O", "B-a", "I-a", "B-b"]


class PassThrough(keras.layers.Layer):
    """An encoder that returns its inputs as features."""

    def call(self, inputs):
        return {**inputs, "mask": keras.ops.not_equal(inputs["mask"], 0)}


class DropsWordStarts(keras.layers.Layer):
    """An encoder that does not pass on the input `word_starts`."""

    def call(self, inputs):
        return {"sequence": inputs["sequence"], "mask": keras.ops.not_equal(inputs["mask"], 0)}


def feature_inputs(width=3, words=True):
    names = ("mask", "word_starts") if words else ("mask",)
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in names}
    return {"sequence": keras.Input((None, width), name="sequence"), **inputs}


def build(task, words=True, encoder=None):
    return mtl.build_model(feature_inputs(words=words), mtl.trunks.HardSharing(encoder or PassThrough()), [task])


def sequences(rows=6, steps=7, seed=0):
    """Features, and each row's positions of first sub-words: none in the first row, one in the second."""
    rng = np.random.default_rng(seed)
    lengths = np.array([0, 1, *rng.integers(2, steps + 1, rows - 2)])
    mask = np.arange(steps) < lengths[:, None]
    starts = mask & (rng.random((rows, steps)) < 0.6)
    starts[1, 0] = True
    x = {
        "sequence": rng.normal(size=(rows, steps, 3)).astype("float32"),
        "mask": mask.astype("int32"),
        "word_starts": starts.astype("int32"),
    }
    return x, [np.flatnonzero(row) for row in starts]


def randomise(model):
    """Assign weights such that all tags occur."""
    rng = np.random.default_rng(0)
    for v in model.trainable_variables:
        v.assign(rng.normal(size=v.shape) * (4.0 if v.path.endswith("kernel") else 0.3))


@pytest.mark.parametrize("crf", [False, True])
def test_words_are_the_first_subwords(crf):
    """The output for sub-words equals the output for only the first sub-words."""
    model = build(mtl.tasks.Tagging("t", TAGS, crf=crf))
    words_model = build(mtl.tasks.Tagging("t", TAGS, crf=crf), words=False)
    words_model.set_weights(model.get_weights())
    x, starts_by_row = sequences()
    answers = model.decode(model(x))["t"]
    for row, starts in enumerate(starts_by_row):
        tags = answers["tags"][row]
        assert (tags[len(starts) :] == "").all()
        assert (tags[: len(starts)] != "").all()
        assert (answers["scores"][row][len(starts) :] == 0).all()
        if len(starts):
            words = {"sequence": x["sequence"][[row]][:, starts], "mask": np.ones((1, len(starts)), "int32")}
            words_answer = words_model.decode(words_model(words))["t"]
            np.testing.assert_array_equal(words_answer["tags"][0], tags[: len(starts)])
            np.testing.assert_allclose(words_answer["scores"][0], answers["scores"][row][: len(starts)], rtol=1e-5)


def test_loss_is_the_mean_over_labelled_words():
    model = build(mtl.tasks.Tagging("t", TAGS))
    model.compile("adam")
    x, starts_by_row = sequences()
    rng = np.random.default_rng(1)
    y = np.full((6, 7), np.nan, "float32")
    weight = np.zeros((6, 7), "float32")
    for row, starts in enumerate(starts_by_row):
        y[row, : len(starts)] = rng.integers(0, 4, len(starts))
        weight[row, : len(starts)] = rng.integers(0, 3, len(starts))
    kernel, bias = model.get_weights()
    total = 0.0
    for row, starts in enumerate(starts_by_row):
        for word, start in enumerate(starts):
            if weight[row, word]:
                scores = x["sequence"][row, start] @ kernel + bias
                total += weight[row, word] * (np.log(np.exp(scores).sum()) - scores[int(y[row, word])])
    results = model.evaluate(x, {"t": y}, sample_weight={"t": weight}, verbose=0, return_dict=True)
    assert results["t_loss"] == pytest.approx(total / weight.sum(), rel=1e-5)


@pytest.mark.parametrize("crf", [False, True])
@pytest.mark.parametrize("weight", ["none", "rows", "column", "everywhere"])
def test_only_words_count_whatever_weights_padding_has(crf, weight):
    model = build(mtl.tasks.Tagging("t", TAGS, crf=crf))
    x, starts_by_row = sequences()
    y = np.random.default_rng(1).integers(0, 4, (6, 7))
    is_word = np.array([[word < len(starts) for word in range(7)] for starts in starts_by_row], "float32")
    rows = np.array([1, 1, 0, 1, 1, 0], "float32")
    row_weights = {"none": np.ones(6), "rows": rows, "column": rows, "everywhere": rows}[weight]
    given_weights = {"none": None, "rows": {"t": rows}, "column": {"t": rows[:, None]}}
    given_weights["everywhere"] = {"t": np.repeat(rows[:, None], 7, 1)}
    results = []
    for label_weights in (given_weights[weight], {"t": is_word * row_weights[:, None]}):
        model.compile("adam", run_eagerly=True)
        results.append(model.evaluate(x, {"t": y}, sample_weight=label_weights, verbose=0, return_dict=True))
    assert results[0] == pytest.approx(results[1], rel=1e-6)
    assert results[0]["t_accuracy"] > 0
    assert results[0]["t_loss"] > 0.1


@pytest.mark.parametrize("crf", [False, True])
def test_labels_with_weight_0_may_be_anything(crf):
    x, starts_by_row = sequences()
    rng = np.random.default_rng(1)
    y = rng.integers(0, 4, (6, 7)).astype("float32")
    weight = np.array([[word < len(starts) and word % 2 for word in range(7)] for starts in starts_by_row], "float32")
    model = build(mtl.tasks.Tagging("t", TAGS, crf=crf))
    model.compile(keras.optimizers.SGD(0.1), metrics={"t": ["accuracy", mtl.metrics.SpanF1(TAGS)]})
    weights = model.get_weights()
    values_by_filler = []
    for filler in (0.0, np.nan, -7.0):
        model.set_weights(weights)
        labels = {"t": np.where(weight > 0, y, filler)}
        model.fit(x, labels, sample_weight={"t": weight}, epochs=2, shuffle=False, verbose=0)
        results = model.evaluate(x, labels, sample_weight={"t": weight}, verbose=0, return_dict=True)
        values_by_filler.append([*model.get_weights(), np.array([results[name] for name in sorted(results)])])
    for values in values_by_filler[1:]:
        for value, expected in zip(values, values_by_filler[0], strict=True):
            np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("crf", [False, True])
def test_labels_of_a_wrong_length(crf):
    model = build(mtl.tasks.Tagging("t", TAGS, crf=crf))
    model.compile("adam")
    x, _ = sequences()
    y = {"t": np.zeros((6, 5))}
    with pytest.raises(ValueError, match=r"`y\['t'\]` must be as long as the task's sequence.* \[5\]"):
        model.fit(x, y, verbose=0)
    unknown = (
        tf.data.Dataset.from_tensor_slices((x, y))
        .padded_batch(6)
        .map(lambda x, y: (x, {"t": y["t"][:, : tf.reduce_max(x["mask"]) * 5]}))
    )
    with pytest.raises(ValueError, match=r"^`y\['t'\]` must be as long as the task's sequence.* \[5\].$"):
        model.fit(unknown, verbose=0)


def test_crf_loss_leaves_out_words_without_a_label():
    task = mtl.tasks.Tagging("t", TAGS, crf=True)
    model = build(task, words=False)
    model.compile("sgd")
    for v in model.trainable_variables:
        v.assign(np.random.default_rng(len(v.path)).normal(size=v.shape))
    x, _ = sequences()
    x = {"sequence": x["sequence"][[5]], "mask": np.ones((1, 7), "int32")}
    y, labelled = np.array([[0, 1, 2, 2, 3, 1, 2]]), [0, 1, 3, 4, 6]
    weight = np.zeros((1, 7), "float32")
    weight[0, labelled] = 1
    y[0, 2] = 99
    labelled_x = {"sequence": x["sequence"][:, labelled], "mask": np.ones((1, 5), "int32")}
    results = model.evaluate(x, {"t": y}, sample_weight={"t": weight}, verbose=0, return_dict=True)
    labelled_results = model.evaluate(labelled_x, {"t": y[:, labelled]}, verbose=0, return_dict=True)
    assert results["t_loss"] == pytest.approx(labelled_results["t_loss"], rel=1e-5)


@pytest.mark.parametrize("crf", [False, True])
def test_spans_are_those_of_the_tags(crf):
    task = mtl.tasks.Tagging("t", TAGS, crf=crf)
    model = build(task)
    x, _ = sequences(rows=40, seed=3)
    randomise(model)
    answers = model.decode(model(x))["t"]
    span_count = 0
    for row in range(40):
        tags = [tag for tag in answers["tags"][row] if tag]
        expected = get_entities(tags)
        n = len(expected)
        span_count += n
        spans = [answers[f"span_{key}"][row] for key in ("types", "begins", "ends", "scores")]
        assert list(zip(*(column[:n].tolist() for column in spans[:3]), strict=True)) == [
            (kind, first, last + 1) for kind, first, last in expected
        ]
        assert (spans[0][n:] == "").all()
        assert (spans[1][n:] == -1).all()
        assert (spans[3][n:] == 0).all()
        means = [answers["scores"][row][first : last + 1].mean() for _, first, last in expected]
        np.testing.assert_allclose(spans[3][:n], means, rtol=1e-5)
    assert span_count > 20


def test_a_crf_decodes_legal_tags_only():
    model = build(mtl.tasks.Tagging("t", TAGS, crf=True), words=False)
    randomise(model)
    x, _ = sequences(rows=50)
    answers = model.decode(model({"sequence": x["sequence"], "mask": x["mask"]}))["t"]["tags"]
    previous = np.concatenate([np.full((50, 1), "O"), answers[:, :-1]], 1)
    inside = answers == "I-a"
    assert inside.sum() > 10
    assert np.isin(previous[inside], ["B-a", "I-a"]).all()


def test_spans_in_the_text():
    task = mtl.tasks.Tagging("t", TAGS)
    answer = task.decode(9.0 * np.eye(4, dtype="float32")[[[1, 2, 0, 3], [0, 0, 0, 0]]])
    texts = tf.constant(["Zoë Ω sees Rome", ""])
    begins, ends = np.array([[0, 5, 8, 13], [0, 0, 0, 0]]), np.array([[4, 7, 12, 17], [0, 0, 0, 0]])
    located = task.locate(answer, mtl.text.LocatedTexts(texts, tf.constant(begins), tf.constant(ends)))
    assert located["words"].numpy()[0].tolist() == [t.encode() for t in ("Zoë", "Ω", "sees", "Rome")]
    assert located["span_texts"].numpy().tolist() == [["Zoë Ω".encode(), b"Rome", b"", b""], [b""] * 4]
    assert located["span_byte_begins"].numpy()[0].tolist() == [0, 13, -1, -1]
    assert located["span_byte_ends"].numpy()[0].tolist() == [7, 17, -1, -1]
    without_spans = mtl.tasks.Tagging("t", 4, scheme="none")
    answer = without_spans.decode(9.0 * np.eye(4, dtype="float32")[[[1, 2, 0, 3], [0, 0, 0, 0]]])
    assert set(answer) == {"tags", "scores"}
    assert set(without_spans.locate(answer, mtl.text.LocatedTexts(texts, tf.constant(begins), tf.constant(ends)))) == {
        "words"
    }


class TwoSequences(keras.layers.Layer):
    """An encoder that returns features of a source and of a target, with the masks and words that are given."""

    def call(self, inputs):
        features = {"sequence": inputs["source"][..., None], "decoder": inputs["target"][..., None]}
        masks = {key: keras.ops.not_equal(x, 0) for key, x in inputs.items() if key.endswith("mask")}
        return {**features, **masks, **{key: x for key, x in inputs.items() if key.endswith("word_starts")}}


@pytest.mark.parametrize(
    "trunk",
    [
        mtl.trunks.HardSharing,
        lambda encoder: mtl.trunks.MMoE(encoder, keras.layers.Dense(2), experts=2),
        lambda encoder: mtl.trunks.CrossStitch([encoder]),
        mtl.trunks.SoftSharing,
    ],
    ids=["hard", "experts", "cross-stitch", "soft"],
)
def test_each_sequence_has_its_own_mask_and_words(trunk):
    x = {
        "source": np.ones((1, 6), "float32"),
        "target": np.ones((1, 4), "float32"),
        "mask": np.array([[1, 1, 0, 0, 0, 0]]),
        "decoder_mask": np.array([[1, 1, 1, 0]]),
        "word_starts": np.array([[0, 1, 0, 0, 0, 0]]),
        "decoder_word_starts": np.array([[1, 0, 1, 0]]),
    }
    numbers = {  # of words in the source and in the target
        ("mask", "decoder_mask"): (2, 3),
        ("mask",): (2, 4),
        ("decoder_mask",): (6, 3),
        ("mask", "word_starts"): (1, 4),
        ("mask", "decoder_mask", "word_starts", "decoder_word_starts"): (1, 2),
    }
    for names, expected in numbers.items():
        given = {name: x[name] for name in ("source", "target", *names)}
        inputs = {
            name: keras.Input(value.shape[1:], dtype=value.dtype.name, name=name) for name, value in given.items()
        }
        tasks = [mtl.tasks.Tagging("s", TAGS), mtl.tasks.Tagging("t", TAGS, features="decoder")]
        model = mtl.build_model(inputs, trunk(TwoSequences(name="encoder")), tasks)
        answers = model.decode(model(given))
        assert tuple((answers[task]["tags"] != "").sum() for task in ("s", "t")) == expected, names


def test_a_mask_of_no_sequence_is_refused():
    inputs = {"target": keras.Input((4,), name="target"), "mask": keras.Input((4,), dtype="bool", name="mask")}
    trunk = mtl.trunks.HardSharing(lambda x: {"decoder": keras.ops.expand_dims(x["target"], -1), "mask": x["mask"]})
    with pytest.raises(ValueError, match="Rename 'mask' to 'decoder_mask'"):
        mtl.build_model(inputs, trunk, [mtl.tasks.Tagging("t", TAGS, features="decoder")])


@pytest.mark.parametrize("crf", [False, True])
def test_a_batch_without_labels_leaves_the_task_unchanged(crf):
    model = build(mtl.tasks.Tagging("t", TAGS, crf=crf))
    model.compile("adam")
    x, _ = sequences()
    y = np.full((6, 7), np.nan, "float32")
    weight = np.ones((6, 7), "float32")
    model.fit(x, {"t": np.zeros((6, 7))}, sample_weight={"t": weight}, verbose=0)
    before = model.get_weights()
    model.fit(x, {"t": y}, sample_weight={"t": np.zeros((6, 7), "float32")}, verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mtl.tasks.Tagging("t", TAGS, scheme="IOB"), "`scheme` of task 't'"),
        (lambda: mtl.tasks.Tagging("t", ["NOUN", "VERB"]), "scheme='none'"),
        (lambda: mtl.tasks.Tagging("t", 3), "BIO"),
        (lambda: build(mtl.tasks.Tagging("t", TAGS, features="mask")), "reads a sequence"),
        (
            lambda: build(mtl.tasks.Tagging("t", TAGS), encoder=DropsWordStarts()),
            "'word_starts' tells where words begin",
        ),
        (
            lambda: mtl.build_model(
                keras.Input((4,)), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([4])), [mtl.tasks.Tagging("t", TAGS)]
            ),
            "the encoder gives",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_labels_out_of_range():
    for crf in (False, True):
        model = build(mtl.tasks.Tagging("t", TAGS, crf=crf), words=False)
        model.compile("adam")
        x = {"sequence": np.ones((1, 2, 3), "float32"), "mask": np.ones((1, 2), "int32")}
        for label in (4, -1):
            with pytest.raises(ValueError, match="class indices from 0 to 3"):
                model.fit(x, {"t": np.array([[0, label]])}, verbose=0)


@pytest.mark.parametrize("crf", [False, True])
def test_a_nan_in_the_scores_of_a_word_is_not_hidden(crf):
    task = mtl.tasks.Tagging("tags", 3, scheme="none", crf=crf)
    scores = np.array([[[1.0, 2.0, 3.0], [1.0, np.nan, 2.0], [-1e9] * 3]], "float32")
    output = mtl.layers.CRF()(scores) if crf else tf.constant(scores)
    assert task.valid_mask(output).numpy().tolist() == [[True, True, False]]
    tags = tf.constant([[0, 1, -1]]) if crf else tf.constant([[0, 1, 0]])
    assert np.isnan(task.loss.call(tags, output)[0, 1])
