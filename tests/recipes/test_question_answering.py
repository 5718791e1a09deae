"""The recipe `question_answering` through its command line, on made-up questions, and its reader of SQuAD's files."""

import itertools
import json
import random

import pytest
import question_answering
import squad_data
import tensorflow as tf

import tf_mtl as mtl

METRICS = {
    *("answer_exact_match", "answer_f1", "answer_of_answerable_exact_match", "answer_of_answerable_f1"),
    *("answerable_accuracy", "answerable_auc"),
}
PLACES = ["Köln", "Oslo", "Lima", "San José"]
VERBS = ["sang", "slept", "left"]


def paragraph(rng, names):
    """A paragraph about what people did and where, with a question about each of them."""
    context, qas = "", []
    for name in names:
        place, verb = rng.choice(PLACES), rng.choice(VERBS)
        start = len(f"{context}{name} {verb} in ")
        context += f"{name} {verb} in {place}. "
        answers = [{"text": place, "answer_start": start}]
        qas.append({"id": name, "question": f"Where was {name}?", "answers": answers})
    return {"context": context, "qas": qas}


def article(rng):
    names = rng.sample(["Ana", "Bo", "Cem", "Dora", "Eva", "Finn"], 4)
    return {"title": "People", "paragraphs": [paragraph(rng, names[:2]), paragraph(rng, names[2:])]}


def write(path, articles):
    path.write_text(json.dumps({"version": "1.1", "data": articles}), "utf-8")
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    rng = random.Random(0)
    return write(tmp_path_factory.mktemp("squad") / "people.json", [article(rng) for _ in range(60)])


@pytest.fixture(scope="module")
def run(run_in_this_process, file, tmp_path_factory):
    """A function that runs the recipe and returns its folder, the printed text and metrics.json."""
    workdir = tmp_path_factory.mktemp("question_answering")
    options = "--encoder", "bilstm", "--strategy", "one_device", "--epochs", 5, "--learning-rate", 0.01

    def run(*others):
        printed = run_in_this_process("question_answering", workdir, "--smoke", "--data", file, *options, *others)
        return workdir, printed, json.loads((workdir / "runs" / "metrics.json").read_text())

    return run


@pytest.fixture(scope="module")
def joint(run):
    return run("--no-single-task")


@pytest.mark.slow
def test_the_scores(joint, file):
    _, printed, document = joint
    assert document["model"] == "joint, bilstm"
    metrics = document["test"]
    assert set(metrics) == METRICS
    assert 0 < metrics["answer_exact_match"] <= metrics["answer_f1"] <= 1
    assert metrics["answer_of_answerable_f1"] > 0.2  # one of two places
    assert document["truncated_answers"] == {"train": 0, "dev": 0, "test": 0}
    dev = squad_data.load(file, smoke=True)["dev"]
    unanswerable = sum(not question.answers for question in dev)
    assert f"dev: {len(dev)} questions, {unanswerable} of them unanswerable, 0 answers truncated" in printed
    (row,) = [line for line in printed.splitlines() if line.startswith("| answer_f1")]
    assert float(row.split("|")[2]) == pytest.approx(metrics["answer_f1"], abs=6e-4)


def test_the_exported_model_answers(joint):
    serve = tf.saved_model.load(str(joint[0] / "export" / "1")).signatures["serving_default"]
    context = "Ana sang in Köln. Bo left in San José."
    outputs = serve(context=tf.constant([context]), question=tf.constant(["Where was Bo?"]))
    begin, end = int(outputs["answer_byte_begin"][0]), int(outputs["answer_byte_end"][0])
    text = outputs["answer_text"].numpy()[0]
    assert text == (context.encode()[begin:end] if begin >= 0 else b"")
    assert outputs["answerable_label"].numpy()[0] in (b"yes", b"no")


@pytest.mark.slow
def test_single_task_models(joint, run):
    workdir, printed, document = run()
    assert document["test"] == joint[2]["test"]  # the joint model is not trained again
    assert set(document["single_task"]) == METRICS
    entries = json.loads((workdir / "runs" / "results.json").read_text())
    assert [entry["model"] for entry in entries] == ["joint", "answer", "answerable"]
    assert "delta-m" in printed


def test_the_parts_of_a_file(file):
    articles = json.loads(file.read_text("utf-8"))["data"]
    questions = squad_data.load(file, smoke=False)
    for part, positions in (("train", (0, 1, 2, 3)), ("dev", (4,)), ("test", (5,))):
        contexts = {
            p["context"] for i, article in enumerate(articles) if i % 6 in positions for p in article["paragraphs"]
        }
        assert {question.context for question in questions[part]} == contexts
        assert sum(bool(question.answers) for question in questions[part]) == 2 * len(contexts)


def test_spans_are_bytes(file):
    for question in squad_data.load(file, smoke=False)["train"]:
        begin, end = question.span
        assert question.context.encode()[begin:end].decode() == "".join(question.answers[:1])


def test_unanswerable_questions_are_about_another_paragraph_without_the_answer(file):
    questions = squad_data.load(file, smoke=False)["train"]
    for first, second in itertools.pairwise(questions):
        if not second.answers:
            assert (second.question, second.span) == (first.question, (0, 0))
            assert second.context != first.context
            assert first.answers[0] not in second.context
    assert 0 < sum(not question.answers for question in questions) <= 80


def test_a_folder_of_squad_2(tmp_path):
    rng = random.Random(1)
    train, dev = [article(rng) for _ in range(6)], [article(rng)]
    impossible = {"question": "Who?", "answers": [], "is_impossible": True, "plausible_answers": []}
    train[0]["paragraphs"][0]["qas"].append(impossible)
    write(tmp_path / "train-v2.0.json", train)
    write(tmp_path / "dev-v2.0.json", dev)
    questions = squad_data.load(tmp_path, smoke=False)
    assert {part: len(asked) for part, asked in questions.items()} == {"train": 21, "dev": 4, "test": 4}
    (unanswerable,) = [question for question in questions["train"] if not question.answers]
    assert (unanswerable.question, unanswerable.span) == ("Who?", (0, 0))


def test_truncated_answers_are_counted():
    questions = [
        squad_data.Question("Ana sang in Oslo.", "Where?", ("Oslo",), (12, 16)),
        squad_data.Question("Ana sang in Oslo.", "Who?", ("Ana",), (0, 3)),
        squad_data.Question("Ana sang.", "Where?"),
    ]
    records, (task, _) = squad_data.records(questions), question_answering.all_tasks()
    words = mtl.text.Words.learn(["Ana sang in Oslo ."], 6, pair=question_answering.PAIR)
    with pytest.warns(UserWarning, match="1 labels of 'answer'"):
        rows = mtl.data.encode_text(records, words, [task], text=question_answering.PAIR)
    assert question_answering.lost_answers(rows) == 1


def test_errors(file, tmp_path):
    def load(articles):
        return squad_data.load(write(tmp_path / "wrong.json", articles), smoke=False)

    with pytest.raises(SystemExit):
        question_answering.parse([])
    with pytest.raises(FileNotFoundError, match="missing.json"):
        squad_data.load(tmp_path / "missing.json", smoke=False)
    articles = json.loads(file.read_text("utf-8"))["data"]
    with pytest.raises(ValueError, match="too few articles.* at least 6"):
        load(articles[:5])
    with pytest.raises(ValueError, match="not in SQuAD's format.*KeyError: 'context'"):
        load([{"paragraphs": [{"qas": articles[0]["paragraphs"][0]["qas"]}]}])
    articles[0]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] += 1
    with pytest.raises(ValueError, match="Where was .* at `answer_start`, .* Fix"):
        load(articles)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="one with train and one with dev in its name"):
        squad_data.load(tmp_path, smoke=False)
