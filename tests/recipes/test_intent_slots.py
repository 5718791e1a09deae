"""The recipe `intent_slots` through its command line, on a few hundred made-up requests."""

import json
import random

import hassil
import home_assistant_data
import intent_slots
import intent_slots_replies
import pytest
import tensorflow as tf

CITIES = ["boston", "denver", "new york", "san jose"]


def request(rng):
    """Words, slots and intent of a request for a flight or for the weather."""
    city, day = rng.choice(CITIES).split(), rng.choice(["monday", "friday"])
    kind = rng.choice(["fly", "weather"])
    start = ["fly", "to"] if kind == "fly" else ["weather", "in"]
    slot = "to_city" if kind == "fly" else "city"
    slots = ["O", "O", *(f"{'I' if i else 'B'}-{slot}" for i in range(len(city))), "O", "B-day"]
    return " ".join([*start, *city, "on", day]), " ".join(slots), kind


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("requests"), random.Random(0)
    for part, rows in (("train", 200), ("valid", 40), ("test", 40)):
        (folder / part).mkdir()
        columns = zip(*(request(rng) for _ in range(rows)), strict=True)
        for name, column in zip(("seq.in", "seq.out", "label"), columns, strict=True):
            (folder / part / name).write_text("\n".join(column) + "\n")
    return folder


@pytest.fixture(scope="module")
def results(run_in_this_process, folder, tmp_path_factory):
    """The folder, printed text and metrics.json of a run."""
    workdir = tmp_path_factory.mktemp("intent_slots")
    options = "--strategy", "one_device", "--epochs", 6, "--learning-rate", 0.01
    printed = run_in_this_process("intent_slots", workdir, "--smoke", "--data", folder, *options)
    return workdir, printed, json.loads((workdir / "runs" / "metrics.json").read_text())


@pytest.mark.slow
def test_intents_and_slots_are_learnt(results):
    _, printed, document = results
    assert document["model"] == "bilstm"
    metrics = document["test"]
    assert set(metrics) == {"intent_accuracy", "slots_span_f1", "frame_accuracy"}
    assert min(metrics.values()) > 0.9  # the first word determines intent and slots
    assert "200 train, 40 validation, 40 test sentences" in printed
    (row,) = [line for line in printed.splitlines() if line.startswith("| frame accuracy")]
    assert float(row.split("|")[2]) == pytest.approx(metrics["frame_accuracy"], abs=6e-4)


@pytest.mark.slow
def test_the_exported_model_answers(results):
    workdir, *_ = results
    signatures = tf.saved_model.load(str(workdir / "export" / "1")).signatures
    outputs = signatures["serving_default"](text=tf.constant(["fly to new york on friday"]))
    assert outputs["intent_label"].numpy()[0] == b"fly"
    assert outputs["slots_span_texts"].numpy()[0, :3].tolist() == [b"new york", b"friday", b""]
    assert outputs["slots_span_types"].numpy()[0, :2].tolist() == [b"to_city", b"day"]


def test_a_folder_without_its_parts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="must have a folder train."):
        intent_slots.main(["--data", str(tmp_path)])


ASSISTANT = {
    "language": "en",
    "intents": {
        "Fly": {"data": [{"sentences": ["[please] (fly|go) to {city} [on] {day}"]}]},
        "Weather": {"data": [{"sentences": ["[how is] [the] weather in {city} [on] {day}"], "response": "state"}]},
    },
    "lists": {
        "city": {
            "values": [*CITIES[:2], "austin", "dallas", "memphis", "omaha", "tulsa", "fresno", "miami", "salem", "waco"]
        },
        "day": {"values": ["monday", "tuesday", "wednesday", "thursday", "friday"]},
    },
}
RESPONSES = {
    "Fly": {"default": "To {{ slots.city | capitalize }}"},
    "Weather": {"state": "{{ slots.city }}: {{ state.state }}"},
}


@pytest.fixture
def requests_with_replies(monkeypatch):
    """Two intents, one with replies; one city of eleven is in the test part only."""
    monkeypatch.setattr(home_assistant_data, "grammar", lambda code: hassil.Intents.from_dict(ASSISTANT))
    monkeypatch.setattr(home_assistant_data, "responses", lambda code: RESPONSES)


@pytest.mark.slow
@pytest.mark.usefixtures("requests_with_replies")
def test_replies(run_in_this_process, tmp_path):
    printed = run_in_this_process("intent_slots", tmp_path, "--smoke", "--replies", "--strategy", "one_device")
    document = json.loads((tmp_path / "runs" / "metrics.json").read_text())
    metrics = document["test"]
    assert document["model"] == "bilstm_subwords"
    assert set(metrics) == {"intent_accuracy", "slots_span_f1", "frame_accuracy", *intent_slots_replies.METRICS}
    assert 0 < metrics["reply_baseline_exact_match"] < 0.5  # eleven replies of one intent
    assert "Replies: 106 train, 39 test, 6 of these unseen in training." in printed
    assert "| reply, exact match, unseen replies" in printed
    serve = tf.saved_model.load(str(tmp_path / "export" / "1")).signatures["serving_default"]
    outputs = serve(text=tf.constant(["fly to boston on friday", "weather in miami"]))
    assert outputs["reply_text"].shape == outputs["reply_score"].shape == outputs["intent_label"].shape == (2,)
    assert outputs["reply_text"].dtype == tf.string


class Parrot:
    """A model that predicts one intent, and replies with the city of each sentence, but for one."""

    def answer(self, texts, preprocessor, tasks, batch_size):
        assert tasks == ["intent", "reply"]
        replies = [f" To {text.split(' to ')[1].split()[0].capitalize()}" for text in texts]
        return {"intent": {"label": ["Fly"] * len(texts)}, "reply": {"text": ["To", *replies[1:]]}}


def test_scores_of_replies():
    def records(*rows):
        columns = zip(*((f"go to {city}".split(), intent, reply) for city, intent, reply in rows), strict=True)
        return tf.data.Dataset.from_tensor_slices(
            dict(zip(("words", "intent", "reply"), map(list, columns), strict=True))
        )

    boston, miami, other = ("boston", "Fly", "To Boston"), ("miami", "Fly", "To Miami"), ("here", "Stay", "Here")
    train = records(boston, miami, other, miami, other, other, ("omaha", "Fly", ""))
    test = records(boston, miami, ("omaha", "Fly", "To Omaha"), ("tulsa", "Fly", "To the moon"), ("x", "Fly", ""))
    parts = {"train": train, "test": test}
    assert intent_slots_replies.scores(Parrot(), None, parts) == {
        "reply_exact_match": 2 / 4,
        "reply_exact_match_unseen": 1 / 2,
        "reply_baseline_exact_match": 1 / 4,
    }
    assert intent_slots_replies.sizes(parts) == "Replies: 6 train, 4 test, 2 of these unseen in training."


def test_a_folder_has_no_replies(folder):
    with pytest.raises(ValueError, match="needs training sentences with replies, received none. Leave out --data"):
        intent_slots.main(["--data", str(folder), "--replies", "--strategy", "one_device"])
