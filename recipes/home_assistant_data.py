"""Requests to a voice assistant, each with an intent and slots, sampled from the templates of Home Assistant.

    python recipes/home_assistant_data.py FOLDER --languages en de fr

writes the folders train, dev and test, each with the files seq.in, seq.out and label, for
`mtl.data.from_label_folder`.

The templates are those of the package `home-assistant-intents` (65 languages; Apache 2.0). They refer to lists that
every home fills for itself (devices, rooms, floors) and to free text (messages, titles); the words for these are this
file's own. They are English in every language, and chosen to suit the template: a lamp where it asks for a light.
"""

import argparse
import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import fetch
import hassil
import tensorflow as tf
from hassil.expression import Alternative, Expression, Group, ListReference, Permutation, RuleReference, TextChunk
from hassil.intents import IntentData, RangeSlotList, TextSlotList
from hassil.util import PUNCTUATION_STR

FOLDERS = {"train": "train", "validation": "dev", "test": "test"}
LEAST = 20  # sentences that an intent must have
TRIES = 300  # draws in a row without a new sentence after which an intent counts as used up

# The devices of each kind of Home Assistant ("domain"), of which a template may ask for one or several.
NAMES = {
    "light": "ceiling light, desk lamp, reading lamp, chandelier, led strip, spotlights, night light, bedside lamp, "
    "globe, lantern, fairy lights, uplighter",
    "switch": "coffee machine, kettle, toaster, dishwasher, water pump, heated blanket, christmas tree, aquarium, "
    "dehumidifier, sprinkler, charger, power strip",
    "fan": "ceiling fan, tower fan, extractor, ventilator, air purifier, exhaust fan, desk fan, breeze, pedestal fan, "
    "cooker hood",
    "media_player": "tv, soundbar, record player, speaker, sonos, chromecast, apple tv, hi-fi, jukebox, smart radio, "
    "projector, boombox",
    "input_boolean": "guest mode, vacation mode, party mode, quiet hours, movie mode, do not disturb, office mode, "
    "presence simulation, winter mode, pet mode",
    "climate": "thermostat, heat pump, radiator, air conditioner, underfloor heating, heater, ecobee, nest, boiler, "
    "split unit, towel rail",
    "cover": "left blind, right blind, roller shutter, velux, balcony awning, patio door, main gate, garage door, "
    "sheer curtain, skylight, west shade, tilt window",
    "valve": "garden valve, main valve, gas valve, water valve, irrigation valve, pool valve, hot tap, drip line, "
    "rain barrel valve, boiler valve",
    "lock": "front door, back door, cellar door, side entrance, safe, gun cabinet, mailbox, bike shed, letterbox, "
    "porch door, gate lock",
    "sensor": "outdoor sensor, barometer, rain gauge, power meter, hygrometer, smart plug, wind gauge, water meter, "
    "lux meter, solar inverter",
    "binary_sensor": "phone, tablet, laptop, doorbell, motion detector, smoke alarm, leak sensor, washing machine, "
    "dryer, electric car, freezer, window contact, robot",
    "vacuum": "roborock, roomba, dusty, deebot, neato, robot vacuum, dyson, eufy, hoover, sweeper",
    "lawn_mower": "lawn mower, automower, landroid, shaun, goat, mowbot, robomow, grazer, worx, husqvarna",
    "todo": "groceries, chores, packing, homework, errands, hardware store, wish, party planning, daily, repairs",
    "scene": "sunset, movie night, bright morning, romantic dinner, relax, energize, arctic aurora, good night, focus, "
    "savanna, tropical twilight",
    "script": "bedtime routine, wake up routine, leaving home, welcome back, laundry reminder, alarm, cat feeder, "
    "watering cycle, story time, disco",
    "person": "alice, bob, carla, dmitri, emma, frank, grandma, hannah, ivan, julia, kenji, luis, mum, nadia",
    "weather": "berlin, new york, lisbon, oslo, home, tokyo, openweathermap, san francisco, nairobi, cabin, montreal",
    "button": "reboot button, reset button, panic button, doorbell chime, elevator call, feeder button",
}
NAMES["input_button"] = NAMES["button"]

# What each of the other open lists holds.
WORDS = {
    "area": "kitchen, living room, bedroom, bathroom, office, hallway, garage, garden, attic, cellar, nursery, pantry, "
    "dining room, guest room, balcony, laundry room, library, sauna, conservatory, studio",
    "floor": "ground floor, first floor, second floor, basement, upstairs, downstairs, top floor, mezzanine, loft, "
    "lower level, upper level, penthouse, main floor",
    "zone": "school, work, university, gym, supermarket, train station, grandparents, city centre, airport, park, "
    "hospital, allotment",
    "message": "dinner is ready, the bus leaves soon, please come downstairs, the parcel has arrived, lunch time, "
    "we are leaving, bring your shoes, the film starts now, bedtime, your taxi is waiting, the cake is done, "
    "feed the cat, someone is at the gate",
    "search_query": "bohemian rhapsody, miles davis, the beatles, abbey road, jazz classics, the daily, star wars, "
    "nina simone, blue in green, deep sleep, stranger things, kind of blue, morning coffee, beethoven, "
    "the lord of the rings, fela kuti, summer hits",
    "timer_name": "pizza, pasta, egg, laundry, tea, nap, workout, bread, homework break, risotto, meditation, cookies, "
    "potatoes, oven",
    "timer_command": "turn off the tv, open the blinds, lock the front door, close the garage door, stop the music, "
    "turn on the heating, dim the lights, start the dishwasher, switch off the radio, open the gate, mute the speaker",
    "shopping_list_item": "milk, bread, eggs, olive oil, toilet paper, bananas, coffee beans, cheddar, dog food, rice, "
    "orange juice, dish soap, sparkling water, tomatoes, oat flakes",
    "todo_list_item": "call the plumber, wash the car, water the plants, pay the rent, book a flight, batteries, "
    "clean the gutters, renew passport, buy stamps, mow the lawn, return the parcel, passport photos, paint the fence",
}


@dataclass(frozen=True)
class Sentence:
    """Words and tags, joined by blanks."""

    words: str
    slots: str
    intent: str
    language: str


def load(languages: Sequence[str] = ("en",), rows: int = 9_000, seed: int = 0) -> dict[str, tf.data.Dataset]:
    """Return `{"train": records, "validation": records, "test": records}`, in a random order.

    A record is {"words": string tensor [words], "slots": string tensor [words], "intent": string, "language": string}:
    lower-case words and their BIO tags. A word that is a slot's in part, such as 5-hour, is tagged as the slot's; one
    of two slots, as German compounds may be, as the first one's.

    A sentence is a random walk through a template, whose alternatives, options, orders and values are equally likely.
    Within a language sentences are distinct; one that two intents share is kept for one of them. Intents get equally
    many, as far as they have them: what an intent lacks goes to the others, none of which gets more than a tenth of
    the rows asked for. An intent with less than 20 sentences is left out. So there may be fewer rows than asked for.

    The part follows from a hash of the sentence, 80/10/10, whatever the seed. Of a list of ten values or more, a
    tenth (by their hashes) are held out: a sentence with one of them is kept for the test part alone, or dropped.

    What makes it easy: the parts share their templates, so that the words around a slot are known, and nothing is
    misspelt. Outside English, the words for open lists stand out as English. What makes it hard: the values held out,
    which a tenth of the test sentences have; intents that differ in the device alone ("start roomba", "start bedtime
    routine"); and slots that differ in the sentence's form alone (a timer's minutes, the minutes to add to it).

    Args:
        languages: Codes such as "en", "de", "pt-BR". Those written without blanks (ja, th, zh-CN) are of little use,
            as words are what lies between blanks; some others have few templates, and so few intents.
        rows: Number of sentences in all parts together, the same for each language.
        seed: Of the sampling; the same seed gives the same records.

    Raises:
        ValueError: if there are no templates for a language.
    """
    grammars = [grammar(language) for language in languages]
    sentences = [found for templates in grammars for found in sample(templates, rows // len(languages), seed)]
    random.Random(seed).shuffle(sentences)
    return {part: _records([found for found in sentences if _part(found.words) == part]) for part in FOLDERS}


def grammar(language: str) -> hassil.Intents:
    """Return a language's templates, downloaded if need be."""
    wheel = fetch.package(
        "home-assistant-intents==2026.10.27",
        "home_assistant_intents-2026.10.27-py3-none-any.whl",
        "256eb1e4fc6e6f4943d0ba4e089c9639d74d0e9d62ccddeb7148bc168de55e40",
    )
    folder = "home_assistant_intents/data/"
    with ZipFile(wheel) as files:
        known = sorted(Path(name).stem for name in files.namelist() if Path(name).match(f"{folder}*.json"))
        if language not in known:
            raise ValueError(f"`languages` must be some of {known}, received {language!r}. Take one of these.")
        return hassil.Intents.from_dict(json.loads(files.read(f"{folder}{language}.json")))


def sample(grammar: hassil.Intents, rows: int, seed: int = 0) -> list[Sentence]:
    """Return distinct sentences of one language, drawn for each intent in turn."""
    rng = random.Random(f"{seed} {grammar.language}")
    values = _values(grammar)
    blocks = {name: [_Block(data, grammar, values) for data in intent.data] for name, intent in grammar.intents.items()}
    found: dict[str, Sentence] = {}
    counts = Counter()
    active = list(blocks)
    while active and len(found) < rows:
        for intent in active[: rows - len(found)]:
            sentence = _new_sentence(intent, blocks[intent], grammar.language, found, rng)
            if sentence:
                found[sentence.words] = sentence
                counts[intent] += 1
            elif counts[intent] < LEAST:
                found = {words: other for words, other in found.items() if other.intent != intent}
            if not sentence or counts[intent] >= rows / 10:
                active.remove(intent)
    return list(found.values())


def _new_sentence(intent, blocks, language, found, rng):
    for _ in range(TRIES):
        words, tags, held_out = rng.choice(blocks).draw(rng)
        if words and words not in found and (not held_out or _part(words) == "test"):
            return Sentence(words, tags, intent, language)
    return None


@dataclass(frozen=True, eq=False)
class _Span:
    """A place in a sentence that a slot's value fills."""

    slot: str
    held_out: bool


class _Block:
    """Templates with the rules and lists that they refer to."""

    def __init__(self, data: IntentData, grammar: hassil.Intents, values: dict[str, list[tuple[Expression, bool]]]):
        domains = data.requires_context.get("domain", NAMES)
        names = [name for domain in domains for name in values[f"name {domain}"]]
        self.templates = [template.expression for template in data.sentences]
        self.rules = grammar.expansion_rules
        self.values = {"name": names, **values}

    def draw(self, rng: random.Random) -> tuple[str, str, bool]:
        """Return words, tags, and whether a value that is held out is among them."""
        text, spans = "", []
        for piece, span in self._walk(rng.choice(self.templates), None, rng):
            text += piece.lower()
            spans += [span] * len(piece.lower())
        words, tags, last = [], [], None
        for match in re.finditer(r"\S+", text):
            if word := match[0].strip(PUNCTUATION_STR):
                span = next(filter(None, spans[match.start() : match.end()]), None)
                words.append(word)
                tags.append(f"{'I' if span is last else 'B'}-{span.slot}" if span else "O")
                last = span
        return " ".join(words), " ".join(tags), any(span and span.held_out for span in spans)

    def _walk(
        self, expression: Expression, span: _Span | None, rng: random.Random
    ) -> Iterator[tuple[str, _Span | None]]:
        match expression:
            case TextChunk():
                yield expression.text, span
            case RuleReference():
                yield from self._walk(self.rules[expression.rule_name].expression, span, rng)
            case ListReference():
                value, held_out = rng.choice(self.values[expression.list_name])
                yield from self._walk(value, _Span(expression.slot_name, held_out), rng)
            case Alternative():
                yield from self._walk(rng.choice(expression.items), span, rng)
            case Group():
                items = expression.items
                for item in rng.sample(items, len(items)) if isinstance(expression, Permutation) else items:
                    yield from self._walk(item, span, rng)


def _values(grammar):
    """Return `{list: [(value, whether it is held out)]}`."""
    values = {name: _words(text) for name, text in WORDS.items()}
    values |= {f"name {domain}": _words(text) for domain, text in NAMES.items()}
    for name, found in grammar.slot_lists.items():
        if isinstance(found, TextSlotList):
            values[name] = [(str(value.value_out), value.text_in) for value in found.values]
        elif isinstance(found, RangeSlotList):
            values[name] = [(str(number), TextChunk(str(number))) for number in found.get_numbers()]
    return {name: _hold_out(pairs) for name, pairs in values.items()}


def _words(text):
    return [(word, TextChunk(word)) for word in text.split(", ")]


def _hold_out(pairs):
    keys = sorted({key for key, _ in pairs}, key=_hash)
    held_out = keys[: round(len(keys) / 10)] if len(keys) >= 10 else ()
    return [(value, key in held_out) for key, value in pairs]


def _part(words):
    return {0: "test", 1: "validation"}.get(_hash(words) % 10, "train")


def _hash(text):
    return int(hashlib.md5(text.encode()).hexdigest(), 16)


def _records(sentences):
    names = Sentence.__dataclass_fields__
    columns = {name: tf.constant([getattr(found, name) for found in sentences], tf.string) for name in names}
    return tf.data.Dataset.from_tensor_slices(columns).map(
        lambda row: row | {name: tf.strings.split(row[name], " ") for name in ("words", "slots")}
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--languages", nargs="+", default=["en"], help="such as en de fr")
    parser.add_argument("--rows", type=int, default=9_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    kept = set()
    for part, records in load(args.languages, args.rows, args.seed).items():
        rows = [
            [b" ".join(row["words"]), b" ".join(row["slots"]), row["intent"]] for row in records.as_numpy_iterator()
        ]
        kept |= {intent.decode() for *_, intent in rows}
        folder = args.folder / FOLDERS[part]
        folder.mkdir(parents=True, exist_ok=True)
        for name, column in zip(("seq.in", "seq.out", "label"), zip(*rows, strict=True), strict=True):
            (folder / name).write_bytes(b"\n".join(column) + b"\n")
        print(f"{folder}: {len(rows):,} sentences")
    left_out = sorted({intent for language in args.languages for intent in grammar(language).intents} - kept)
    print(f"Intents left out, for having less than {LEAST} sentences: {', '.join(left_out) or 'none'}.")


if __name__ == "__main__":
    main()
