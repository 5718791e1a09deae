"""Dependency parsing: scores, loss and attachment scores by hand, and trees by other algorithms."""

import itertools

import keras
import networkx
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl._spanning_trees import spanning_trees

RELATIONS = ["root", "subject", "object"]
NO_WORD = -1e9


def is_tree(heads):
    """Whether all words lead to the root, and one of them directly."""
    for word in range(1, len(heads) + 1):
        for _ in heads:
            word = word and heads[word - 1]
        if word:
            return False
    return list(heads).count(0) == 1


def totals(scores, heads):
    """The sums of the scores of arcs, for heads [..., W]."""
    return scores[np.arange(scores.shape[0]), np.asarray(heads)].sum(-1)


@pytest.mark.parametrize("words", [1, 2, 3, 4, 5])
def test_trees_equal_the_best_of_all(words):
    """Among all words ** (words - 1) trees, with ties, and with scores for which several roots would be better."""
    trees = [heads for heads in itertools.product(range(words + 1), repeat=words) if is_tree(heads)]
    assert len(trees) == words ** (words - 1)
    rng = np.random.default_rng(words)
    scores = rng.integers(-4, 5, (120, words, words + 1)).astype("float32")
    scores[40:80, :, 0] += 6
    scores[80:, :, 0] -= 6
    heads = spanning_trees(tf.constant(scores), tf.ones((120, words), tf.bool)).numpy()
    for row, row_scores in zip(heads, scores, strict=True):
        assert is_tree(row)
        assert totals(row_scores, row) == totals(row_scores, trees).max()


def best_total(scores):
    """The score of the best tree with one root, by networkx: the best over all words below the root."""
    words = len(scores)
    best = []
    for top in range(1, words + 1):
        graph = networkx.DiGraph()
        graph.add_nodes_from(range(1, words + 1))
        for word, head in itertools.permutations(range(1, words + 1), 2):
            if word != top:
                graph.add_edge(head, word, weight=float(scores[word - 1, head]))
        tree = networkx.maximum_spanning_arborescence(graph) if words > 1 else graph
        best.append(scores[top - 1, 0] + sum(scores[word - 1, head] for head, word in tree.edges))
    return max(best)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_trees_of_longer_sentences_equal_another_library(jit_compile):
    rng = np.random.default_rng(0)
    lengths = np.array([0, 1, 2, 3, 5, 8, 9, 9, 9, 9])
    scores = rng.normal(size=(10, 9, 10)).astype("float32") * rng.choice([0.1, 1, 50], (10, 1, 1)).astype("float32")
    scores[7:, :, 0] += 5
    scores[9, :, 1] += 20  # all words depend on the first, so that cycles are contracted one by one
    find = tf.function(spanning_trees, jit_compile=jit_compile)
    heads = find(tf.constant(scores), tf.constant(np.arange(9) < lengths[:, None])).numpy()
    for row, row_scores, length in zip(heads, scores, lengths, strict=True):
        if length:
            row, row_scores = row[:length], row_scores[:length, : length + 1]
            assert is_tree(row)
            np.testing.assert_allclose(totals(row_scores, row), best_total(row_scores), rtol=1e-5)


def output_of(arcs, relations=3):
    """An output [1, W, W + 1, 1 + R] with the given scores of arcs, and relations that differ by head."""
    arcs = np.asarray(arcs, "float32")
    best = np.arange(arcs.shape[-1]) % relations
    scores = np.broadcast_to(2 * np.eye(relations, dtype="float32")[best], (*arcs.shape, relations))
    return np.concatenate([arcs[..., None], np.where(arcs[..., None] > NO_WORD / 2, scores, NO_WORD)], -1)


def softmax(x):
    exp = np.exp(x - x.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def test_decoding():
    """Two words, each the best head of the other; then one, then none."""
    x = NO_WORD
    arcs = [[[1, 9, 3, x], [1, 4, 9, x], [x, x, x, x]], [[1, 5, x, x], [x] * 4, [x] * 4], [[x] * 4] * 3]
    tree = mtl.tasks.DependencyParse("parse", RELATIONS).decode(output_of(arcs))
    greedy = mtl.tasks.DependencyParse("parse", RELATIONS, tree=False).decode(output_of(arcs))
    assert tree["heads"].numpy().tolist() == [[0, 1, -1], [0, -1, -1], [-1, -1, -1]]
    assert greedy["heads"].numpy().tolist() == [[2, 1, -1], [0, -1, -1], [-1, -1, -1]]
    assert tree["relations"].numpy().tolist() == [[b"root", b"subject", b""], [b"root", b"", b""], [b""] * 3]
    assert greedy["relations"][0].numpy().tolist() == [b"object", b"subject", b""]
    first, second = softmax(np.array([1.0, 3.0])), softmax(np.array([1.0, 4.0]))
    np.testing.assert_allclose(tree["scores"], [[first[0], second[1], 0], [1, 0, 0], [0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(greedy["scores"][0], [first[1], second[1], 0], rtol=1e-6)


def test_loss_and_metrics_by_hand():
    rng = np.random.default_rng(0)
    output = rng.normal(size=(2, 3, 4, 4)).astype("float32")
    labels = np.array([[[2, 1], [0, 0], [2, 2]], [[1, 0], [3, 1], [2, 2]]])  # the second row has cycles
    expected = np.zeros((2, 3))
    for row, word in np.ndindex(2, 3):
        head, relation = labels[row, word]
        arc = softmax(output[row, word, :, 0])[head]
        expected[row, word] = -np.log(arc) - np.log(softmax(output[row, word, head, 1:])[relation])
    losses = mtl.losses.DependencyCrossentropy().call(labels.astype("float32"), output)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)

    predicted = np.array([[[2, 1], [0, 1], [1, 2]], [[1, 0], [3, 1], [1, 1]]])
    for weight, uas, las in [
        (None, 4 / 6, 3 / 6),
        (np.array([1.0, 0.0]), 2 / 3, 1 / 3),
        (np.array([[1.0, 3.0, 0.0], [0.0, 1.0, 1.0]]), 5 / 6, 2 / 6),
    ]:
        for metric, score in zip(mtl.tasks.DependencyParse("t", 3).metrics(), (uas, las), strict=True):
            for part in (slice(0, 1), slice(1, 2)):
                metric.update_state(labels[part], predicted[part], None if weight is None else weight[part])
            assert float(metric.result()) == pytest.approx(score)


class PassThrough(keras.layers.Layer):
    """An encoder that returns its inputs as features."""

    def call(self, inputs):
        return {**inputs, "mask": keras.ops.not_equal(inputs["mask"], 0)}


def build(*others, **options):
    keras.utils.set_random_seed(0)
    inputs = {
        "sequence": keras.Input((None, 5), name="sequence"),
        "mask": keras.Input((None,), dtype="int32", name="mask"),
    }
    task = mtl.tasks.DependencyParse("parse", RELATIONS, arc_units=6, label_units=4, **options)
    model = mtl.build_model(inputs, mtl.trunks.HardSharing(PassThrough()), [task, *others])
    model.get_layer("parse_scores").arc_root.assign(np.linspace(-1, 1, 6))
    return model


def sentences(rows=8, width=6, seed=0):
    """Features of sentences, the first two empty and of one word, and labels: any arcs, even cycles."""
    rng = np.random.default_rng(seed)
    lengths = np.array([0, 1, *rng.integers(2, width + 1, rows - 2)])
    mask = np.arange(width) < lengths[:, None]
    x = {"sequence": rng.normal(size=(rows, width, 5)).astype("float32"), "mask": mask.astype("int32")}
    labels = np.stack([rng.integers(0, lengths[:, None] + 1, (rows, width)), rng.integers(0, 3, (rows, width))], -1)
    return x, labels, lengths


def test_scores_equal_numpy():
    model = build()
    x, _, lengths = sentences()
    output = model.predict(x, verbose=0)["parse"]
    assert output.shape == (8, 6, 7, 4)

    def dense(part):
        kernel, bias = model.get_layer(f"parse_{part}").get_weights()
        return np.maximum(x["sequence"] @ kernel + bias, 0)

    layer = model.get_layer("parse_scores")
    (arc_kernel,), relation_kernels = layer.arc_kernel.numpy(), layer.relation_kernel.numpy()
    roots = layer.arc_root.numpy(), layer.relation_root.numpy()
    for row, word in np.ndindex(8, 6):
        for head in range(7):
            if word >= lengths[row] or head > lengths[row]:
                assert (output[row, word, head] == NO_WORD).all()
                continue
            h, label_h = (
                dense(f"{part}_heads")[row, head - 1] if head else root
                for part, root in zip(("arc", "label"), roots, strict=True)
            )
            d, label_d = dense("arc_dependents")[row, word], dense("label_dependents")[row, word]
            expected = [h @ arc_kernel[:, :-1] @ d + arc_kernel[:, -1] @ h]
            for kernel in relation_kernels:
                linear = kernel[:-1, -1] @ label_h + kernel[-1, :-1] @ label_d + kernel[-1, -1]
                expected.append(label_h @ kernel[:-1, :-1] @ label_d + linear)
            np.testing.assert_allclose(output[row, word, head], expected, rtol=1e-4, atol=1e-5)


def test_masks_that_keras_attaches():
    inputs = keras.Input((4,), dtype="int32")
    trunk = mtl.trunks.HardSharing(keras.layers.Embedding(9, 4, mask_zero=True))
    model = mtl.build_model(inputs, trunk, [mtl.tasks.DependencyParse("parse", 2, arc_units=3, label_units=2)])
    heads = model.answer(np.array([[5, 6, 0, 0], [0, 0, 0, 0]]))["parse"]["heads"]
    assert is_tree(heads[0, :2])
    assert (heads[0, 2:] == -1).all()
    assert (heads[1] == -1).all()


def test_padding_does_not_matter():
    model = build()
    x, labels, lengths = sentences()
    model.compile("sgd")
    y = {"parse": labels}
    expected, answers = model.evaluate(x, y, verbose=0, return_dict=True), model.answer(x)["parse"]
    losses = mtl.losses.DependencyCrossentropy().call(labels, model(x)["parse"]).numpy()
    assert expected["loss"] == pytest.approx(losses[np.arange(6) < lengths[:, None]].mean(), rel=1e-5)
    longer = {name: np.concatenate([values, np.zeros_like(values[:, :3])], 1) for name, values in x.items()}
    longer["sequence"][:, 6:] = 7.0
    y_longer = {"parse": np.concatenate([labels, np.zeros_like(labels[:, :3])], 1)}
    results = model.evaluate(longer, y_longer, verbose=0, return_dict=True)
    assert results == pytest.approx(expected, rel=1e-5)
    answers_longer = model.answer(longer)["parse"]
    for name, values in answers.items():
        np.testing.assert_array_equal(answers_longer[name][:, :6] if name != "scores" else values, values)
        assert (answers_longer[name][:, 6:] == {"heads": -1, "relations": "", "scores": 0}[name]).all()
    for heads, length in zip(answers["heads"], lengths, strict=True):
        assert is_tree(heads[:length]) or not length
        assert (heads[length:] == -1).all()


def test_missing_labels_and_two_replicas():
    """Labels of weight 0 may hold anything."""
    x, labels, lengths = sentences(rows=16)
    weight = ((np.arange(6) < lengths[:, None]) & (np.random.default_rng(1).random((16, 6)) < 0.7)).astype("float32")

    def train(name, missing):
        with mtl.distribute.strategy(name).scope():
            model = build()
            model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
        y = {"parse": np.where(weight[..., None] > 0, labels, missing)}
        data = tf.data.Dataset.from_tensor_slices((x, y, {"parse": weight})).batch(16)
        return model, model.fit(data, epochs=3, verbose=0).history

    losses = mtl.losses.DependencyCrossentropy().call(labels, build()(x)["parse"]).numpy()
    one, two = train("one_device", -99), train("mirrored", 99)
    assert one[1]["loss"][0] == pytest.approx((losses * weight).sum() / weight.sum(), rel=1e-5)
    for a, b in zip(one[0].get_weights(), two[0].get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for name, values in one[1].items():
        np.testing.assert_allclose(values, two[1][name], rtol=1e-4, err_msg=name)


TEXTS = ["she saw him", "birds saw", "look", "", "him she saw"]


def text_model():
    keras.utils.set_random_seed(0)
    words = mtl.text.Words.learn(TEXTS, length=4)
    encoder = mtl.encoders.TransformerEncoder(words.vocabulary_size, 4, dim=16, layers=1, heads=2, dropout=0.0)
    task = mtl.tasks.DependencyParse("parse", RELATIONS, arc_units=16, label_units=8)
    return mtl.build_model(words.inputs(), mtl.trunks.HardSharing(encoder), [task]), words


@pytest.mark.slow
def test_learns_to_parse_and_exports(tmp_path):
    """Texts in, words with heads and relations out; the exported model gives the same answers."""
    model, words = text_model()
    heads = np.array([[2, 0, 2, 0], [2, 0, 0, 0], [0] * 4, [0] * 4, [3, 3, 0, 0]])
    relations = np.array([[1, 0, 2, 0], [1, 0, 0, 0], [0] * 4, [0] * 4, [2, 1, 0, 0]])
    model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    y = {"parse": np.stack([heads, relations], -1)}
    history = model.fit(words(TEXTS), y, epochs=40, verbose=0).history
    assert history["parse_loss"][-1] < 0.1 < history["parse_loss"][0]
    assert (history["parse_uas"][-1], history["parse_las"][-1]) == (1, 1)
    answer = model.answer(TEXTS, words)
    assert answer["parse"]["heads"][0].tolist() == [2, 0, 2, -1]
    assert answer["parse"]["relations"][0].tolist() == ["subject", "root", "object", ""]
    assert answer["parse"]["words"].tolist()[:2] == [["she", "saw", "him", ""], ["birds", "saw", "", ""]]
    path = mtl.export.saved_model(model, tmp_path / "export", preprocessor=words, check=False)
    exported = tf.saved_model.load(str(path)).signatures["parse"](text=tf.constant(TEXTS))
    np.testing.assert_array_equal(exported["parse_heads"], answer["parse"]["heads"])
    np.testing.assert_allclose(exported["parse_scores"], answer["parse"]["scores"], rtol=1e-4)
    assert exported["parse_words"][0].numpy().tolist() == [b"she", b"saw", b"him", b""]


def test_other_tasks_read_relations_and_hidden_features():
    after = {"relations": "probabilities", "features": "hidden"}
    model = build(
        *(mtl.tasks.Tagging(name, 2, scheme="none", after={"parse": part}) for name, part in after.items()),
        hidden_units=5,
    )
    x, _, lengths = sentences()
    output = model(x)["parse"].numpy()
    expected = np.einsum("bdh,bdhr->bdr", softmax(output[..., 0]), softmax(output[..., 1:]))
    is_word = np.arange(6) < lengths[:, None]
    layer = model.get_layer("parse_probabilities_of_words")
    read = keras.Model(model.input, layer.output)(x)
    np.testing.assert_allclose(read, expected * is_word[..., None], rtol=1e-5)
    assert (model.decode(model(x))["features"]["tags"] != "").tolist() == is_word.tolist()


def test_distillation_loss():
    """It is the loss for a teacher that is sure, and lowest at the teacher's own output."""
    task = mtl.tasks.DependencyParse("parse", RELATIONS)
    rng = np.random.default_rng(0)
    output = tf.constant(rng.normal(size=(1, 3, 4, 4)), tf.float32)
    labels = np.array([[[2, 1], [0, 0], [2, 2]]])
    sure = np.zeros((1, 3, 4, 4), "float32")
    for word, (head, relation) in enumerate(labels[0]):
        sure[0, word, head, [0, 1 + relation]] = 50
    np.testing.assert_allclose(task.distillation_loss(sure, output), task.loss.call(labels, output), rtol=1e-5)
    with tf.GradientTape() as tape:
        tape.watch(output)
        distance = task.distillation_loss(tf.stop_gradient(output), output)
    np.testing.assert_allclose(tape.gradient(distance, output), np.zeros(output.shape), atol=1e-6)
    marked = output_of([[[0, 9, 3, NO_WORD], [2, 4, 9, NO_WORD], [NO_WORD] * 4]])
    assert np.isfinite(task.distillation_loss(marked, marked)).all()


def fit_with(labels, weight=None):
    model = build()
    model.compile("sgd", jit_compile=False)
    model.fit(sentences()[0], {"parse": labels}, sample_weight=weight, verbose=0)


def test_a_batch_without_words():
    model = build()
    output = model({"sequence": tf.zeros([2, 0, 5]), "mask": tf.zeros([2, 0], tf.int32)})["parse"]
    assert output.shape == (2, 0, 1, 4)
    assert model.tasks[0].decode(output)["heads"].shape == (2, 0)


def test_kernels_of_dense_layers_are_regularized():
    model = build(mtl.tasks.Tagging("tag", 2, scheme="none"), kernel_regularizer=keras.regularizers.L2(0.1))
    names = [f"parse_{kind}_{role}" for kind in ("arc", "label") for role in ("heads", "dependents")]
    expected = sum(0.1 * np.square(model.get_layer(name).kernel).sum() for name in names)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


def test_errors():
    _, labels, lengths = sentences()
    first = np.arange(6) == 0
    too_large = np.where((first & (lengths == 6)[:, None])[..., None], [9, 0], labels)
    with pytest.raises(ValueError, match=r"integers from 0 to 6, .*and from 0 to 2, .*Received: \[9.0"):
        fit_with(too_large)
    with pytest.raises(ValueError, match=r"words of their own sentence.*Received: \[5"):
        fit_with(np.where((first & (lengths == 1)[:, None])[..., None], [5, 0], labels))
    with pytest.raises(ValueError, match=r"from 0 to 2, .*Received: \[3.0"):
        fit_with(labels + [0, 1])
    with pytest.raises(ValueError, match=r"Received: \[[0-9]\.5"):
        fit_with(labels + [0.5, 0])
    with pytest.raises(ValueError, match=r"need labels of shape \(None, None, 2\)"):
        fit_with(labels[..., 0])
    with pytest.raises(ValueError, match=r"does not fit labels of shape \(8, 6\)"):
        fit_with(labels, {"parse": np.ones((8, 6, 2))})
    with pytest.raises(ValueError, match="Read {'parse': 'probabilities'}"):
        build(mtl.tasks.Tagging("tag", 2, scheme="none", after=["parse"]))
    with pytest.raises(ValueError, match="`arc_units` must be"):
        mtl.tasks.DependencyParse("parse", 3, arc_units=0)
    with pytest.raises(ValueError, match="'frame_accuracy' of `joint_metrics`"):
        build().compile("sgd", joint_metrics=[mtl.metrics.FrameAccuracy(["parse"])])
