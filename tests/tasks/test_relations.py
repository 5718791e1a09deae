"""Relations: scores and loss in NumPy, decoding by enumeration, masks, replicas, saved and exported models."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.export._decoders import check_decoder

TAGS = ["O", "B-person", "I-person", "B-place", "I-place"]
RELATIONS = ["lives_in", "left"]
NO_PAIR = -1e9
UNLABELLED = {"relations_tags": None}  # for models that do not know that an input may be missing


class PassThrough(keras.layers.Layer):
    """An encoder that returns its inputs as features."""

    def call(self, inputs):
        return {**inputs, "mask": keras.ops.not_equal(inputs["mask"], 0)}


def build(*others, crf=False, **options):
    keras.utils.set_random_seed(0)
    inputs = {
        "sequence": keras.Input((None, 5), name="sequence"),
        "mask": keras.Input((None,), dtype="int32", name="mask"),
    }
    task = mtl.tasks.Relations("relations", RELATIONS, TAGS, units=6, **options)
    entities = mtl.tasks.Tagging("entities", TAGS, crf=crf)
    return mtl.build_model(inputs, mtl.trunks.HardSharing(PassThrough()), [task, entities, *others])


def sentences(rows=8, width=5, seed=0):
    """Features of sentences, the first two empty and of one word, with random labels."""
    rng = np.random.default_rng(seed)
    lengths = np.array([0, 1, *rng.integers(2, width + 1, rows - 2)])
    is_word = np.arange(width) < lengths[:, None]
    x = {"sequence": rng.normal(size=(rows, width, 5)).astype("float32"), "mask": is_word.astype("int32")}
    related = (rng.random((rows, width, width, 2)) < 0.3).astype("float32")
    return x, {"relations": related, "entities": rng.integers(0, 5, (rows, width))}, is_word


def pairs_of(is_word):
    return is_word[:, :, None] & is_word[:, None]


def sigmoid(x):
    return 1 / (1 + np.exp(-np.maximum(x, -99).astype("float64")))


def test_scores_equal_numpy():
    model = build()
    x, _, is_word = sentences()
    outputs = model.predict(x, verbose=0)
    tag_scores, output = outputs["entities"], outputs["relations"]
    assert output.shape == (8, 5, 5, 3)
    assert output.dtype == "float32"
    probabilities = np.exp(tag_scores) / np.exp(tag_scores).sum(-1, keepdims=True).clip(1e-9)
    z = np.concatenate([x["sequence"], probabilities], -1)
    (u, b), (w,) = (model.get_layer(f"relations_{part}").get_weights() for part in ("heads", "tails"))
    v, c = model.get_layer("relations_scores").get_weights()
    for row, i, j in np.ndindex(8, 5, 5):
        if not (is_word[row, i] and is_word[row, j]):
            assert (output[row, i, j] == NO_PAIR).all()
            continue
        expected = np.maximum(z[row, i] @ u + z[row, j] @ w + b, 0) @ v + c
        np.testing.assert_allclose(output[row, i, j, :2], expected, rtol=1e-4, atol=1e-5)
        assert output[row, i, j, 2] == tag_scores[row, i].argmax()


def test_probabilities_begin_near_a_hundredth():
    model = build()
    model.get_layer("relations_scores").kernel.assign(np.zeros((6, 2)))
    x, _, is_word = sentences()
    logits = model.predict(x, verbose=0)["relations"][pairs_of(is_word), :2]
    np.testing.assert_allclose(sigmoid(logits), 0.01, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"pos_weight": [3.0, 1.0], "label_smoothing": 0.1}, {"focal": 2.0}])
def test_loss_and_metric_equal_numpy(options):
    model = build(**options)
    x, y, is_word = sentences()
    p = sigmoid(model.predict(x, verbose=0)["relations"][..., :2])
    labels, factor = y["relations"], np.array(options.get("pos_weight", 1))
    smooth = labels * (1 - options.get("label_smoothing", 0)) + options.get("label_smoothing", 0) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        losses = -(factor * smooth * np.log(p) + (1 - smooth) * np.log(1 - p))
        losses *= np.where(labels == 1, 1 - p, p) ** options.get("focal", 0)
    rng = np.random.default_rng(1)
    for shape in [(8, 5, 5, 2)] if options else [None, (8,), (8, 5, 5), (8, 5, 5, 2)]:
        weight = None if shape is None else (rng.random(shape) < 0.6).astype("float32")
        full = 1.0 if weight is None else weight.reshape(weight.shape + (1,) * (4 - weight.ndim))
        counts = pairs_of(is_word)[..., None] * np.ones(2) * full > 0
        missing = {**y, "relations": np.where(full > 0, labels, np.nan).astype("float32")}
        weights = None if weight is None else {"relations": weight}
        model.compile("sgd", jit_compile=False)
        results = model.evaluate(x, missing, sample_weight=weights, verbose=0, return_dict=True)
        assert results["relations_loss"] == pytest.approx(losses[counts].mean(), rel=1e-5)
        true, predicted = labels[counts] == 1, p[counts] >= 0.5
        expected = 2 * (true & predicted).sum() / (true.sum() + predicted.sum())
        assert results["relations_micro_f1"] == pytest.approx(expected)


def test_padding_does_not_matter():
    model = build(threshold=0.01)
    x, y, _ = sentences()
    model.compile("sgd", joint_metrics=[mtl.metrics.RelationF1(TAGS, 2)], jit_compile=False)
    expected, answers = model.evaluate(x, y, verbose=0, return_dict=True), model.answer(x)["relations"]
    longer = {name: np.concatenate([values, np.zeros_like(values[:, :3])], 1) for name, values in x.items()}
    longer["sequence"][:, 5:] = 7.0
    related = np.pad(y["relations"], [[0, 0], [0, 3], [0, 3], [0, 0]], constant_values=1)
    y = {"relations": related, "entities": np.pad(y["entities"], [[0, 0], [0, 3]], constant_values=1)}
    assert model.evaluate(longer, y, verbose=0, return_dict=True) == pytest.approx(expected, rel=1e-5)
    for name, values in model.answer(longer)["relations"].items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(values, answers[name], rtol=1e-5)
        else:
            np.testing.assert_array_equal(values[:, : answers[name].shape[1]], answers[name])
    assert (answers["labels"] != "").sum() > 3
    assert (answers["tags"][0] == "").all()


def spans_of(tags):
    """{last word: (type, begin, end)} of tag names, "" after the last word."""
    spans, begin = {}, None
    for position, tag in enumerate(tags):
        if tag[:1] == "B" or (tag[:1] == "I" and (begin is None or tags[position - 1][2:] != tag[2:])):
            begin = position
        if tag in ("O", ""):
            begin = None
        following = tags[position + 1] if position + 1 < len(tags) else ""
        if begin is not None and following != f"I-{tag[2:]}":
            spans[position] = (tag[2:], begin, position + 1)
    return spans


@pytest.mark.parametrize(("most", "threshold"), [(3, 0.5), (64, 0.3), (64, 0.0)])
def test_decoding_by_enumeration(most, threshold):
    rng = np.random.default_rng(0)
    tags, lengths = rng.integers(0, 5, (20, 5)), np.r_[0, 1, rng.integers(2, 6, 18)]
    is_pair = pairs_of(np.arange(5) < lengths[:, None])
    output = rng.normal(size=(20, 5, 5, 3)).astype("float32")
    output[..., 2] = tags[:, :, None]
    output[~is_pair] = NO_PAIR
    task = mtl.tasks.Relations("relations", RELATIONS, TAGS, threshold=threshold, most=most)
    answer = {key: value.numpy() for key, value in task.decode(output).items()}
    keys = ["labels", "head_types", "head_begins", "head_ends", "tail_types", "tail_begins", "tail_ends"]
    for row, length in enumerate(lengths):
        names = [TAGS[tag] for tag in tags[row, :length]] + [""] * (5 - length)
        assert [tag.decode() for tag in answer["tags"][row]] == names
        spans, p = spans_of(names), sigmoid(output[row])
        expected = [
            (p[i, j, r], RELATIONS[r], *spans[i], *spans[j])
            for i in spans
            for j in spans
            for r in range(2)
            if p[i, j, r] >= threshold
        ]
        expected = sorted(expected, reverse=True)[:most]
        scores = answer["scores"][row]
        np.testing.assert_allclose(scores[: len(expected)], [each[0] for each in expected], rtol=1e-5)
        columns = [answer[key][row].astype("U" if answer[key].dtype == object else int) for key in keys]
        relations = list(zip(*columns, strict=True))
        assert [tuple(each) for each in relations[: len(expected)]] == [each[1:] for each in expected]
        assert set(relations[len(expected) :]) <= {("", "", -1, -1, "", -1, -1)}
        assert len(relations) == most
        assert (scores[len(expected) :] == 0).all()


def test_missing_labels_and_two_replicas():
    x, y, _ = sentences(rows=16)
    weight = (np.random.default_rng(1).random((16, 5, 5)) < 0.7).astype("float32")
    weight[3] = 0

    def train(name, missing):
        with mtl.distribute.strategy(name).scope():
            model = build()
            metrics = [mtl.metrics.RelationF1(TAGS, 2, average=average) for average in ("micro", "macro")]
            model.compile(keras.optimizers.Adam(0.01), joint_metrics=metrics, jit_compile=False)
        labels = {**y, "relations": np.where(weight[..., None] > 0, y["relations"], missing)}
        data = tf.data.Dataset.from_tensor_slices((x, labels, {"relations": weight})).batch(16)
        return model, model.fit(data, epochs=2, verbose=0).history

    one, two = train("one_device", -99), train("mirrored", 99)
    for a, b in zip(one[0].get_weights(), two[0].get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for name, values in one[1].items():
        np.testing.assert_allclose(values, two[1][name], rtol=1e-4, err_msg=name)
    assert {"relation_micro_f1", "relation_macro_f1"} <= set(one[1])


@pytest.mark.parametrize("gradients", [True, False])
def test_the_loss_trains_the_entity_task_if_wanted(gradients):
    model = build(after_gradients=gradients)
    x, y, _ = sentences()
    before = model.get_layer("entities_scores").kernel.numpy()
    model.compile(keras.optimizers.SGD(0.5), loss_weights={"entities": 0.0}, jit_compile=False)
    model.fit(x, y, verbose=0)  # reads the labelled tags
    np.testing.assert_array_equal(model.get_layer("entities_scores").kernel, before)
    model.fit(x, y, sample_weight={"entities": np.zeros(8)}, verbose=0)
    assert (model.get_layer("entities_scores").kernel.numpy() != before).any() == gradients


TEXTS = ["Ann lives in New York", "Bob Ray left Rome", "Rome left Ann", "", "New York", "Bob Ray lives in Rome"]
ENTITIES = [[1, 0, 0, 3, 4], [1, 2, 0, 3], [3, 0, 1], [], [3, 4], [1, 2, 0, 0, 3]]
RELATED = [(0, 0, 4, 0), (1, 1, 3, 1), (2, 0, 2, 1), (5, 1, 4, 0)]


@pytest.mark.slow
def test_learns_saves_and_exports(tmp_path):
    """Texts in, relations between entities out, also after saving and in the exported model."""
    keras.utils.set_random_seed(0)
    words = mtl.text.Words.learn(TEXTS, length=5)
    encoder = mtl.encoders.TransformerEncoder(words.vocabulary_size, 5, dim=16, layers=1, heads=2, dropout=0.0)
    tasks = [mtl.tasks.Tagging("entities", TAGS), mtl.tasks.Relations("relations", RELATIONS, TAGS, most=4)]
    model = mtl.build_model(words.inputs(), mtl.trunks.HardSharing(encoder), tasks)
    model.compile(keras.optimizers.Adam(0.02), joint_metrics=[mtl.metrics.RelationF1(TAGS, 2)], jit_compile=False)
    related = np.zeros((6, 5, 5, 2), "float32")
    related[tuple(zip(*RELATED, strict=True))] = 1
    y = {"entities": np.array([tags + [0] * (5 - len(tags)) for tags in ENTITIES]), "relations": related}
    history = model.fit(words(TEXTS), y, epochs=40, verbose=0).history
    assert history["relation_micro_f1"][-1] == history["relations_micro_f1"][-1] == 1
    assert history["relation_micro_f1"][0] < 0.5

    answer = model.answer(TEXTS, words)["relations"]
    found = [
        (row, *(str(answer[key][row, place]) for key in ("head_texts", "labels", "tail_texts")))
        for row, place in np.argwhere(answer["labels"] != "")
    ]
    assert found == [
        (0, "Ann", "lives_in", "New York"),
        (1, "Bob Ray", "left", "Rome"),
        (2, "Rome", "left", "Ann"),
        (5, "Bob Ray", "lives_in", "Rome"),
    ]
    assert answer["tail_types"][0].tolist() == ["place", "", "", ""]
    assert (answer["tail_byte_begins"][0, 0], answer["tail_byte_ends"][0, 0]) == (13, 21)
    assert (answer["head_byte_begins"][:, 1:] == -1).all()
    assert (answer["head_texts"][:, 1:] == "").all()

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(words(TEXTS), y, verbose=0, return_dict=True)["relation_micro_f1"] == 1
    path = mtl.export.saved_model(loaded, tmp_path / "export", preprocessor=words, check=False)
    exported = tf.saved_model.load(str(path)).signatures["relations"](text=tf.constant(TEXTS))
    assert {f"relations_{key}" for key in answer} == set(exported)
    for key, values in answer.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(exported[f"relations_{key}"], values, rtol=1e-4)
        else:
            expected = np.char.encode(values).astype(object) if values.dtype.kind == "U" else values
            np.testing.assert_array_equal(exported[f"relations_{key}"].numpy(), expected)


@pytest.mark.parametrize("words", [1, 2, 5, 16])
def test_answers_depend_on_all_of_the_output(words):
    """What the check of exports demands."""
    check_decoder(mtl.tasks.Relations("relations", RELATIONS, TAGS), tf.zeros([1, words, words, 3]))


def test_tags_before_a_crf():
    """The metric takes the entities of the most probable path, and the output the tags before the CRF."""
    model = build(crf=True)
    x, y, is_word = sentences()
    scores = keras.Model(model.input, model.get_layer("entities_emissions").output)(UNLABELLED | x).numpy()
    tags = model(x)["relations"].numpy()[..., 2].diagonal(0, 1, 2)
    np.testing.assert_array_equal(tags[is_word], scores.argmax(-1)[is_word])
    model.compile("sgd", joint_metrics=[mtl.metrics.RelationF1(TAGS, 2)], jit_compile=False)
    assert 0 <= model.evaluate(x, y, verbose=0, return_dict=True)["relation_micro_f1"] <= 1


def test_one_relation_and_its_hidden_features():
    """Labels of one relation may lack the last axis; another task reads the hidden features, zero where no word is."""
    x, y, is_word = sentences()
    reader = mtl.tasks.Tagging("reader", 2, scheme="none", after={"relations": "hidden"})
    model = build(reader, hidden_units=3)
    layer = model.get_layer("relations_hidden_of_words")
    hidden = keras.Model(model.input, layer.output)(UNLABELLED | x).numpy()
    assert (hidden[~is_word] == 0).all()
    assert (hidden[is_word] != 0).any()
    loss = mtl.losses.RelationLoss()
    output = np.random.default_rng(0).normal(size=(8, 5, 5, 2))
    labels = y["relations"][..., 0]
    np.testing.assert_array_equal(loss.call(labels, output), loss.call(labels[..., None], output))


def test_distillation_loss():
    """It is lowest at the teacher's own output, and finite for marked pairs."""
    task = mtl.tasks.Relations("relations", RELATIONS, TAGS)
    output = build()(sentences()[0])["relations"]
    output = tf.where(output == 0, 0.1, output)  # TensorFlow's gradient of the cross-entropy is wrong for logits of 0
    with tf.GradientTape() as tape:
        tape.watch(output)
        distance = task.distillation_loss(tf.stop_gradient(output), output)
    assert np.isfinite(distance).all()
    assert distance.shape == (8, 5, 5, 2)
    np.testing.assert_allclose(tape.gradient(distance, output), np.zeros(output.shape), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": 0}, "`units` must be"),
        ({"most": 0}, "`most` must be"),
        ({"threshold": 2}, "`threshold` must"),
        ({"tags": ["a", "b"]}, "must be BIO tags"),
        ({"labels": []}, "at least 1 different names"),
        ({"after": ["entities"]}, r"`after\['entities'\]` of task 'r' must be 'probabilities'"),
        ({"focal": 2, "pos_weight": 2}, "`focal` of task 'r' is not supported"),
    ],
)
def test_errors_of_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        mtl.tasks.Relations("r", **{"labels": 2, "tags": TAGS, **options})


def test_errors():
    x, y, _ = sentences()
    model = build()
    model.compile("sgd", jit_compile=False)
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        model.fit(x, {**y, "relations": 2 * y["relations"]}, verbose=0)
    with pytest.raises(ValueError, match=r"need labels of shape \(None, None, None, 2\)"):
        model.fit(x, {**y, "relations": y["relations"][..., 0]}, verbose=0)
    with pytest.raises(ValueError, match="Read {'relations': 'hidden'}"):
        build(mtl.tasks.Tagging("tag", 2, scheme="none", after=["relations"]))
    with pytest.raises(ValueError, match="`entities` of task 'others' must name a Tagging task with the labels"):
        build(mtl.tasks.Relations("others", 2, TAGS[:3]))
