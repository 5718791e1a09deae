"""Sentences sampled from templates, compared with sentences enumerated by hand."""

import itertools
import json
from zipfile import ZipFile

import hassil
import home_assistant_data
import home_assistant_sentences
import pytest
import tensorflow as tf
from hassil.intents import TextSlotList
from hassil.recognize import recognize_all
from home_assistant_replies import render
from home_assistant_sentences import Sentence, sample
from home_assistant_words import NAMES, WORDS

import tf_mtl as mtl


def grammar(sentences, lists=None, rules=None, language="en", **block):
    """Return a grammar with one intent for each list of templates."""
    intents = {name: {"data": [{"sentences": templates, **block}]} for name, templates in sentences.items()}
    document = {"language": language, "intents": intents, "lists": lists or {}, "expansion_rules": rules or {}}
    return hassil.Intents.from_dict(document)


COLORS = {"shade": {"values": ["red", {"in": "(dark|light) blue", "out": "blue"}]}}
MINUTES = {"minutes": {"range": {"from": 5, "to": 15, "step": 5}}}
ENUMERATED = {
    "alternatives, options and rules": (
        ["<turn> on [all|both] (lights|lamps)"],
        {"rules": {"turn": "(turn|switch)"}},
        {
            (" ".join(filter(None, words)), " ".join(["O"] * len(list(filter(None, words)))))
            for words in itertools.product(["turn", "switch"], ["on"], ["", "all", "both"], ["lights", "lamps"])
        },
    ),
    "a permutation": (
        ["turn (it;[right] on;now)"],
        {},
        {
            ("turn " + " ".join(order), "O " + " ".join(["O"] * len(" ".join(order).split())))
            for on in ("on", "right on")
            for order in itertools.permutations(["it", on, "now"])
        },
    ),
    "a list whose value is a template": (
        ["Paint  it {shade:color} now"],
        {"lists": COLORS},
        {
            ("paint it red now", "O O B-color O"),
            ("paint it dark blue now", "O O B-color I-color O"),
            ("paint it light blue now", "O O B-color I-color O"),
        },
    ),
    "a list without a slot's name": (
        ["{shade}"],
        {"lists": COLORS},
        {("red", "B-shade"), ("dark blue", "B-shade I-shade"), ("light blue", "B-shade I-shade")},
    ),
    "two values of one slot side by side": (
        ["{shade:color} {shade:color}"],
        {"lists": {"shade": {"values": ["red", "blue"]}}},
        {(f"{a} {b}", "B-color B-color") for a in ("red", "blue") for b in ("red", "blue")},
    ),
    "a range": (
        ["timer for {minutes:time}(-| )minute[s]"],
        {"lists": MINUTES},
        {(f"timer for {n}-minute{s}", "O O B-time") for n in (5, 10, 15) for s in ("", "s")}
        | {(f"timer for {n} minute{s}", "O O B-time O") for n in (5, 10, 15) for s in ("", "s")},
    ),
    "a range with halves": (
        ["{warmth}°"],
        {"lists": {"warmth": {"range": {"from": 20, "to": 21, "fractions": "halves"}}}},
        {(f"{n}°", "B-warmth") for n in ("20", "20.5", "21", "21.5")},
    ),
    "a value within a word": (
        ["dans l'{shade}"],
        {"lists": {"shade": {"values": ["or"]}}},
        {("dans l'or", "O B-shade")},
    ),
    "punctuation": (["¿Qué, {shade}?"], {"lists": {"shade": {"values": ["ÉTÉ !"]}}}, {("qué été", "O B-shade")}),
}


@pytest.mark.parametrize("case", ENUMERATED)
def test_all_sentences_of_a_grammar(case, monkeypatch):
    monkeypatch.setattr(home_assistant_sentences, "MIN_SENTENCES", 1)
    templates, options, expected = ENUMERATED[case]
    sentences = sample(grammar({"Do": templates}, **options), 1_000)
    assert {(row.words, row.slots) for row in sentences} == expected
    assert len(sentences) == len(expected)
    assert {(row.intent, row.language) for row in sentences} == {("Do", "en")}


@pytest.mark.parametrize(
    ("template", "reply"),
    [
        ("Timer paused", "Timer paused"),
        ("Added {{ slots.item }} to {{slots.list}}\n", "Added goat Cheese to shopping"),
        ("{{ slots.item | capitalize }} is on the list", "Goat cheese is on the list"),
        ("{{slots.item|capitalize}}", "Goat cheese"),
        ("", ""),
        ("Turned off {{ slots.area }}", ""),
        ("{{ slots.item }} in {{ slots.area }}", ""),
        ("{% if slots.item %}Added{% else %}Nothing{% endif %}", ""),
        ("{# a comment #} Added", ""),
        ("{{ state.state_with_unit }}", ""),
        ("{{ slots.item }} is {{ state.state_with_unit }}", ""),
        ("{{ query.matched | length }}", ""),
        ("{{ slots.item | title }}", ""),
        ("{{ slots.item | default('it') }}", ""),
        ("{{ slots.item.name }}", ""),
    ],
)
def test_templates_of_replies(template, reply):
    assert render(template, {"item": "goat Cheese", "list": "shopping"}) == reply


def replies(sentences, responses, lists, **block):
    rows = sample(grammar({"Do": sentences}, lists, **block), 1_000, responses={"Do": responses})
    return {row.words: row.reply for row in rows}


def test_replies_have_the_values_as_they_are_said(monkeypatch):
    monkeypatch.setattr(home_assistant_sentences, "MIN_SENTENCES", 1)
    lists = COLORS | MINUTES | {"area": {"values": ["Hall", "Attic"]}}
    responses = {"default": "It is {{ slots.shade }}", "of": "{{ slots.domain }}: {{ slots.shade | capitalize }}"}
    paint = ["paint it {shade}, now"]
    assert replies(paint, responses, lists) == {
        f"paint it {shade} now": f"It is {shade}" for shade in ("red", "dark blue", "light blue")
    }
    of_a_block = replies(paint, responses, lists, response="of", slots={"domain": "light", "shade": "any"})
    assert of_a_block["paint it light blue now"] == "light: Light blue"
    assert set(replies(["paint [it]"], responses, lists).values()) == {""}  # no shade in the sentence
    assert set(replies(paint, responses, lists, response="unknown").values()) == {""}
    assert replies(["a {minutes}-minute break"], {"default": "{{ slots.minutes }} minutes"}, lists) == {
        f"a {minutes}-minute break": f"{minutes} minutes" for minutes in (5, 10, 15)
    }
    twice = replies(["from {area} to {area}"], {"default": "{{ slots.area }}"}, lists)
    assert twice["from hall to attic"] == "attic"


def values(row):
    """Return each slot's words, according to the tags."""
    pairs = [*zip(row.words.split(), row.slots.split(), strict=True)]
    slots = {tag[2:] for _, tag in pairs if tag != "O"}
    return {slot: " ".join(word for word, tag in pairs if tag[2:] == slot) for slot in slots}


def test_open_lists_are_filled_with_words_that_fit_the_template():
    templates = {"Lock": ["(lock|bolt|secure) [the|my|our] {name}"]}
    sentences = sample(grammar(templates, requires_context={"domain": ["lock", "cover"]}), 9_000)
    names = {*NAMES["lock"].split(", "), *NAMES["cover"].split(", ")}
    assert {values(row)["name"] for row in sentences} == names
    templates = {"Say": ["(say|announce|broadcast) [now|please|again] [that] {message}"]}
    sentences = sample(grammar(templates, {"message": {"wildcard": True}}), 9_000)
    assert {values(row)["message"] for row in sentences} == set(WORDS["message"].split(", "))


RICH = ["(go to|light up|show me|clean|heat|cool) [the|my|our] {area} (at {hour}|{day}) [please]"]
GOLDEN = [
    "go to the bathroom sunday",
    "show me library friday",
    "show me living room friday",
]  # the same in every process, whatever its hash seed
LISTS = {
    "day": {"values": ["today", "tonight", "tomorrow", "monday", "tuesday", "friday", "sunday"]},
    "hour": {"range": {"from": 1, "to": 24}},
}


def test_intents_have_equally_many_sentences_at_most_a_tenth_and_those_with_fewer_than_20_are_dropped():
    few_sentences = ["turn it (on|off) (now|soon|later) [please] [again]"]
    too_few_sentences = ["turn it (up|down) (now|soon|later) [please|again]"]
    templates = grammar({"Rich": RICH, "Tiny": too_few_sentences, "Alike": RICH, "Poor": few_sentences}, LISTS)
    sentences = sample(templates, 400)
    assert len({row.words for row in sentences}) == len(sentences)
    assert {name: sum(row.intent == name for row in sentences) for name in templates.intents} == {
        "Rich": 40,
        "Tiny": 0,
        "Alike": 40,
        "Poor": 24,
    }
    rows = [row.intent for row in sample(grammar({f"Rich{i}": RICH for i in range(12)}, LISTS), 100)]
    assert sorted(rows.count(f"Rich{i}") for i in range(12)) == [8] * 8 + [9] * 4


@pytest.fixture
def records(monkeypatch):
    """The function `load`, for a grammar of twelve intents in any language."""
    monkeypatch.setattr(
        home_assistant_data, "grammar", lambda code: grammar({f"Do{i}": RICH for i in range(12)}, LISTS, language=code)
    )
    monkeypatch.setattr(home_assistant_data, "responses", lambda code: {"Do3": {"default": "{{ slots.area }} done"}})
    return home_assistant_data.load


def rows(records):
    """Yield (words, slots, intent, language) of each record, with words and slots joined by spaces."""
    for row in records.as_numpy_iterator():
        joined = [b" ".join(row["words"]), b" ".join(row["slots"]), row["intent"], row["language"]]
        yield tuple(field.decode() for field in joined)


def texts(records):
    return [words for words, *_ in rows(records)]


def test_the_same_seed_gives_the_same_records(records):
    first, same_seed, other_seed = records(rows=200), records(rows=200), records(rows=200, seed=1)
    assert [*rows(first["train"])] == [*rows(same_seed["train"])]
    assert set(texts(first["train"])) != set(texts(other_seed["train"]))
    assert texts(first["train"].take(3)) == GOLDEN


def test_parts(records):
    parts = records(("en", "xx"), rows=2_400)
    assert list(parts) == ["train", "validation", "test"]
    words, scalar = tf.TensorSpec([None], tf.string), tf.TensorSpec([], tf.string)
    spec = {"words": words, "slots": words, "intent": scalar, "language": scalar, "reply": scalar}
    assert all(part.element_spec == spec for part in parts.values())
    assert sum(len(part) for part in parts.values()) == 2_400
    assert len(parts["train"]) / 2_400 == pytest.approx(0.78, abs=0.03)
    assert len(parts["validation"]) / 2_400 == pytest.approx(0.1, abs=0.02)
    languages = [row[-1] for row in rows(parts["validation"])]
    assert 0.8 < languages.count("en") / languages.count("xx") < 1.25


def test_replies_of_records(records):
    for row in records(rows=240)["train"].as_numpy_iterator():
        words, slots = (b" ".join(row[field]).decode() for field in ("words", "slots"))
        area = values(Sentence(words, slots, "", ""))["area"]
        assert row["reply"].decode() == (f"{area} done" if row["intent"] == b"Do3" else "")


def test_a_sentence_is_in_one_part_whatever_the_seed(records):
    first, other_seed = records(rows=1_000), records(rows=1_000, seed=1)
    first, other_seed = ({part: set(texts(rows)) for part, rows in parts.items()} for parts in (first, other_seed))
    texts_of_both = {part: first[part] | other_seed[part] for part in first}
    assert first["test"] & other_seed["test"]
    assert (
        not texts_of_both["test"] & texts_of_both["train"]
        | texts_of_both["test"] & texts_of_both["validation"]
        | texts_of_both["train"] & texts_of_both["validation"]
    )


def test_a_tenth_of_the_values_of_long_lists_is_in_the_test_part_only(records):
    parts = records(rows=3_000)
    values_by_part = {part: {"area": set(), "hour": set(), "day": set()} for part in parts}
    for part, records in parts.items():
        for words, slots, *_ in rows(records):
            for slot, value in values(Sentence(words, slots, "", "")).items():
                values_by_part[part][slot].add(value)
    assert values_by_part["test"]["area"] == set(WORDS["area"].split(", "))
    assert values_by_part["test"]["hour"] == {str(hour) for hour in range(1, 25)}
    for part in ("train", "validation"):
        missing_counts = {
            slot: len(values_by_part["test"][slot] - values_by_part[part][slot]) for slot in values_by_part[part]
        }
        assert missing_counts == {"area": 2, "hour": 2, "day": 0}


def test_the_script_writes_folders_that_the_library_reads(records, tmp_path, capsys, monkeypatch):
    templates = grammar({**{f"Do{i}": RICH for i in range(12)}, "Rare": ["hello"]}, LISTS)
    monkeypatch.setattr(home_assistant_data, "grammar", lambda code: templates)
    home_assistant_data.main([str(tmp_path), "--rows", "300", "--seed", "3"])
    printed, expected = capsys.readouterr().out, records(rows=300, seed=3)
    for part, folder in {"train": "train", "validation": "dev", "test": "test"}.items():
        written = mtl.data.from_label_folder(tmp_path / folder)
        assert [*rows(written.map(lambda row: row | {"language": "en"}))] == [*rows(expected[part])]
        assert f"{tmp_path / folder}: {len(written)} sentences" in printed
    assert "fewer than 20 sentences: Rare." in printed


def test_templates_come_from_the_package(tmp_path, monkeypatch):
    with ZipFile(tmp_path / "package.whl", "w") as files:
        responses = {"Do": {"default": "Allumé"}}
        intents = {"Do": {"data": [{"sentences": ["allume"]}]}}
        document = {"language": "fr", "intents": intents, "responses": {"intents": responses}}
        files.writestr("home_assistant_intents/data/fr.json", json.dumps(document))
        files.writestr("home_assistant_intents/intents.json", "{}")
    monkeypatch.setattr(home_assistant_data.data_packages, "download", lambda *args: tmp_path / "package.whl")
    assert list(home_assistant_data.grammar("fr").intents) == ["Do"]
    assert home_assistant_data.responses("fr") == responses
    with pytest.raises(ValueError, match=r"`languages` must be some of \['fr'\], received 'xx'"):
        home_assistant_data.load(("xx",))


@pytest.mark.parametrize("language", ["en", "de"])
def test_home_assistant_gives_the_sentences_the_same_intents_and_values(language):
    try:
        templates = home_assistant_data.grammar(language)
    except RuntimeError as error:
        pytest.skip(str(error).splitlines()[0])
    sentences = sample(templates, 2_000)
    assert len(sentences) == 2_000
    assert len({row.intent for row in sentences}) >= 35
    names = [(name, name, {"domain": kind}) for kind, words in NAMES.items() for name in words.split(", ")]
    lists = {name: TextSlotList.from_strings(WORDS[name].split(", "), name=name) for name in ("area", "floor")}
    lists["name"] = TextSlotList.from_tuples(names, name="name")
    for row in sentences[::40]:
        readings = recognize_all(row.words, templates, lists, intent_context={"area": "kitchen"})
        assert any(
            reading.intent.name == row.intent and equal_values(reading.entities, values(row)) for reading in readings
        ), row


def equal_values(entities, values):
    texts = {slot: entity.text_clean.lower() for slot, entity in entities.items() if entity.text}
    return texts.keys() == values.keys() and all(text in values[slot] for slot, text in texts.items())
