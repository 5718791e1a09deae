"""Spans of words: the best one, labels from byte offsets, and answers in texts."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

RNG = np.random.default_rng(0)
CONTEXTS = ["Ada was born in London, in 1815.", "Der Zug fährt nach Köln; er ist spät.", "No one knows."]
QUESTIONS = ["Where?", "Where?", "Who?"]
ANSWERS = ["London", "Köln", ""]


def byte_span(text, part):
    begin = text.encode().find(part.encode())
    return (begin, begin + len(part.encode())) if part else (0, 0)


SPANS = [byte_span(*pair) for pair in zip(CONTEXTS, ANSWERS, strict=True)]


def records(**changes):
    fields = {"context": CONTEXTS, "question": QUESTIONS, "answer": SPANS} | changes
    return tf.data.Dataset.from_tensor_slices(fields)


def words(length=24, **options):
    return mtl.text.Words.learn([*CONTEXTS, *QUESTIONS], length=length, pair=("context", "question"), **options)


def encoded(rows, preprocessor, task):
    data = mtl.data.encode_text(rows, preprocessor, [task], text=("context", "question"))
    return [np.array([np.array(part) for part in parts]) for parts in zip(*data.map(only("answer")), strict=True)]


def only(task):
    return lambda x, y, weight: (y[task], weight[task])


@pytest.mark.parametrize("no_answer", [True, False])
@pytest.mark.parametrize("max_length", [1, 3, 30])
def test_the_best_of_all_spans(no_answer, max_length):
    task = mtl.tasks.SpanExtraction("answer", max_length, no_answer)
    logits = 3 * RNG.normal(size=(40, 8, 2)).astype("float32")
    counts = RNG.integers(1, 8, 40)
    if not no_answer:
        logits[:, 0] = -1e9
    for row, count in enumerate(counts):
        logits[row, count + 1 :] = -1e9
    answer, spans = task.decode(tf.constant(logits)), task.predictions(tf.constant(logits))
    for row, count in enumerate(counts):
        exponentials = np.exp(logits[row].astype("float64") - logits[row].max(0))
        first, last = (exponentials / exponentials.sum(0)).T
        scores = {(0, 0): first[0] * last[0]} if no_answer else {}
        for i, j in itertools.combinations_with_replacement(range(1, count + 1), 2):
            if j - i < max_length:
                scores[i, j] = first[i] * last[j]
        best = max(scores, key=scores.get)
        assert tuple(spans[row].numpy()) == best
        assert float(answer["score"][row]) == pytest.approx(scores[best], rel=1e-4)
        expected = (best[0] - 1, best[1]) if best[0] else (-1, -1)
        assert (int(answer["begin"][row]), int(answer["end"][row])) == expected


def test_every_answer_goes_to_words_and_back():
    preprocessor, task = words(), mtl.tasks.SpanExtraction("answer")
    labels, weights = encoded(records(), preprocessor, task)
    assert weights.tolist() == [1, 1, 1]
    logits = np.full((3, 21, 2), -5.0, "float32")
    for row, span in enumerate(labels):
        logits[row, span, [0, 1]] = 5.0
    located = preprocessor.locate(tf.constant(CONTEXTS))
    answer = task.answer(tf.constant(logits), located)
    assert [text.decode() for text in answer["text"].numpy()] == ANSWERS
    expected = [span if span[1] else (-1, -1) for span in SPANS]
    assert list(zip(answer["byte_begin"].numpy(), answer["byte_end"].numpy(), strict=True)) == expected


def test_lost_widened_and_missing_spans():
    task = mtl.tasks.SpanExtraction("answer")
    with pytest.warns(UserWarning, match="Lost: .*2 labels of 'answer'"):
        labels, weights = encoded(records(), words(length=7), task)
    assert weights.tolist() == [0, 0, 1]
    assert labels.tolist() == [[0, 0]] * 3
    with pytest.warns(UserWarning, match="extended to them: 1 of 'answer'"):
        labels, _ = encoded(records(answer=[byte_span(CONTEXTS[0], "ondo"), *SPANS[1:]]), words(), task)
    np.testing.assert_array_equal(labels, encoded(records(), words(), task)[0])
    _, weights = encoded(records(answer=[(-1, -1), *SPANS[1:]]), words(), task)
    assert weights.tolist() == [0, 1, 1]


def test_white_space_after_the_last_word_is_not_truncation(recwarn):
    rows = records(context=["I live in Paris ", *CONTEXTS[1:]], answer=[(10, 16), *SPANS[1:]])
    labels, weights = encoded(rows, words(), mtl.tasks.SpanExtraction("answer"))
    assert labels[0].tolist() == [4, 4]
    assert weights.tolist() == [1, 1, 1]
    assert [str(warning.message) for warning in recwarn if "truncated" in str(warning.message)] == []


@pytest.mark.parametrize("span", [(0, 99), (9, 4), (3, 4)])
def test_spans_outside_the_text(span):
    with pytest.raises(ValueError, match=r"Record 1 has the span \(.*holds no words of its first text, of 40 bytes"):
        encoded(records(answer=[SPANS[0], span, SPANS[2]]), words(), mtl.tasks.SpanExtraction("answer"))
    with pytest.raises(ValueError, match="Record 2 has the span"):
        encoded(records(), words(), mtl.tasks.SpanExtraction("answer", no_answer=False))
    with pytest.raises(ValueError, match="must be byte offsets"):
        encoded(records(answer=[0.5, 1.0, 2.0]), words(), mtl.tasks.SpanExtraction("answer"))


def build(preprocessor, **options):
    keras.utils.set_random_seed(1)
    encoder = mtl.encoders.TransformerEncoder(
        preprocessor.vocabulary_size, preprocessor.length, dim=16, layers=1, heads=2, dropout=0.0
    )
    tasks = [mtl.tasks.SpanExtraction("answer", **options), mtl.tasks.Classification("topic", 2)]
    return mtl.build_model(preprocessor.inputs(), mtl.trunks.HardSharing(encoder), tasks)


@pytest.mark.slow
def test_learns_answers_and_exports_them(tmp_path):
    preprocessor = words()
    model = build(preprocessor)
    model.compile(keras.optimizers.Adam(0.01))
    data = mtl.data.encode_text(records(), preprocessor, model.tasks[:1], text=("context", "question"))
    rows = data.padded_batch(3)
    single = model.single_task("answer")
    single.compile(keras.optimizers.Adam(0.01))
    single.fit(rows, epochs=40, verbose=0)
    results = single.evaluate(rows, verbose=0, return_dict=True)
    assert results["answer_exact_match"] == results["answer_f1"] == 1
    pairs = {"context": CONTEXTS, "question": QUESTIONS}
    answer = single.answer(pairs, preprocessor)["answer"]
    assert answer["text"].tolist() == ANSWERS
    assert mtl.metrics.squad_scores(answer["text"], [[text] * bool(text) for text in ANSWERS])["f1"] == 1
    path = mtl.export.saved_model(single, tmp_path / "m", preprocessor=preprocessor, warmup=pairs, check=False)
    served = tf.saved_model.load(str(path)).signatures["serving_default"]
    outputs = served(**{name: tf.constant(texts) for name, texts in pairs.items()})
    assert [text.decode() for text in outputs["answer_text"].numpy()] == ANSWERS
    empty = single.answer({"context": [""], "question": ["Who?"]}, preprocessor)["answer"]
    assert empty["text"].tolist() == [""]


@pytest.mark.parametrize("no_answer", [True, False])
def test_a_batch_without_words(no_answer):
    model = build(words(), no_answer=no_answer)
    output = model({name: tf.zeros([2, 0], tf.int32) for name in model.input})["answer"]
    assert output.shape == (2, 1, 2)
    assert model.tasks[0].decode(output)["begin"].numpy().tolist() == [-1, -1]


def test_loss_metrics_and_missing_labels():
    preprocessor = words()
    model = build(preprocessor)
    model.compile("sgd")
    x = preprocessor({"context": tf.constant(CONTEXTS), "question": tf.constant(QUESTIONS)})
    x = {name: value.to_tensor() if hasattr(value, "to_tensor") else value for name, value in x.items()}
    y = {"answer": np.array([[5, 6], [99, -7], [2, 3]]), "topic": np.array([0, 1, 0])}
    weight = {"answer": np.array([1.0, 0.0, 3.0], "float32")}
    results = model.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)
    logits = np.array(model(x)["answer"], "float64")
    spans = y["answer"] * [[1], [0], [1]]
    of_label = (np.take_along_axis(logits, spans[:, None], 1)).sum((1, 2)) / 2
    loss = np.log(np.exp(logits).sum(1)).sum(1) / 2 - of_label
    assert results["answer_loss"] == pytest.approx(np.average(loss, weights=[1, 0, 3]), rel=1e-4)
    for wrong in ([1, -1], [3, 2], [0, 2]):
        labels = {**y, "answer": np.array([wrong, [0, 0], [1, 2]])}
        message = r"`y\['answer'\]` must be \(first word, last word\), integers.*not 0"
        with pytest.raises(ValueError, match=message):
            model.evaluate(x, labels, verbose=0)
        with pytest.raises(ValueError, match=message):
            model.evaluate(tf.data.Dataset.from_tensor_slices((x, labels)).batch(3), verbose=0)


@pytest.mark.parametrize(
    ("no_answer", "spans", "message"),
    [
        (True, [[5, 6], [1, 20], [0, 0]], r"in its own text.*Received: \[20\]"),
        (False, [[5, 6], [1, 2], [0, 0]], r"no_answer=True.*Received: \[0 0\]"),
    ],
)
def test_spans_of_arrays_lie_in_their_own_texts(no_answer, spans, message):
    preprocessor = words()
    model = build(preprocessor, no_answer=no_answer)
    model.compile("sgd")
    x = preprocessor({"context": tf.constant(CONTEXTS), "question": tf.constant(QUESTIONS)})
    y = {"answer": np.array(spans), "topic": np.zeros(3)}
    with pytest.raises(ValueError, match=message):
        model.fit(x, y, verbose=0)
    weight = np.array([1, 0, 1] if no_answer else [1, 1, 0], "float32")  # 0 for the wrong span
    model.fit(x, y, sample_weight={"answer": weight}, verbose=0)


def test_metrics_by_hand():
    true = np.array([[1, 4], [0, 0], [0, 0], [2, 3], [2, 2]])
    predicted = np.array([[3, 6], [0, 0], [2, 3], [0, 0], [5, 6]])
    weight = np.array([1, 1, 1, 1, 2], "float32")
    exact, f1 = mtl.metrics.SpanExactMatch(), mtl.metrics.SpanOverlapF1()
    for metric in (exact, f1):
        metric.update_state(true, predicted, weight)
    assert float(exact.result()) == pytest.approx(1 / 6)
    assert float(f1.result()) == pytest.approx((2 * 2 / 8 + 1) / 6)


def test_scores_of_squad():
    references = [["The Eiffel Tower.", "Tour Eiffel"], ["1815"], [], ["a b c"]]
    answers = ["eiffel tower", "in 1815", "no", ""]
    scores = mtl.metrics.squad_scores(answers, references)
    assert scores == pytest.approx({"exact_match": 1 / 4, "f1": (1 + 2 / 3) / 4})
    with pytest.raises(ValueError, match="one entry per question"):
        mtl.metrics.squad_scores([], [])
    with pytest.raises(ValueError, match="list of answers to each question, received the text '1815'"):
        mtl.metrics.squad_scores(["in 1815"], ["1815"])


def test_two_replicas_equal_one():
    preprocessor = words()
    weights = []
    for kind in ("one_device", "mirrored"):
        with mtl.distribute.strategy(kind).scope():
            model = build(preprocessor)
            model.compile(keras.optimizers.SGD(0.1), balancing="upgrad")
        x = preprocessor({"context": tf.constant(CONTEXTS), "question": tf.constant(QUESTIONS)})
        y = {"answer": np.array([[5, 6], [0, 0], [2, 3]]), "topic": np.array([0, 1, 0])}
        model.fit(x, y, sample_weight={"answer": np.array([1.0, 0.0, 3.0])}, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-5)


def test_what_does_not_fit():
    tokens = keras.Input((6,), dtype="int32")
    tasks = [mtl.tasks.SpanExtraction("answer"), mtl.tasks.Regression("r", after="answer")]
    sharing = mtl.trunks.HardSharing(mtl.encoders.RecurrentEncoder(9, dim=4, units=4))
    with pytest.raises(ValueError, match="cannot read a SpanExtraction"):
        mtl.build_model(tokens, sharing, tasks)
    with pytest.raises(ValueError, match="'pooled'.*no_answer=False"):
        tasks[0].head({"sequence": keras.Input((6, 4)), "mask": keras.Input((6,))})
