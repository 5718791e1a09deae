"""Requests to a voice assistant, each with an intent, slots and a reply, sampled from the templates of Home Assistant.

    python recipes/home_assistant_data.py FOLDER --languages en de fr

writes the folders train, dev and test, each with the files seq.in, seq.out and label, for
`mtl.data.from_label_folder`.

The templates are those of the package `home-assistant-intents` (65 languages; Apache 2.0). They refer to lists that
each home fills in (devices, rooms, floors) and to free text (messages, titles). The words for these are
not part of the package; home_assistant_words.py lists them. They are English in every language, and chosen to suit the
template: a lamp where it asks for a light.
"""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

import quiet_tensorflow  # noqa: F401
import data_packages
import hassil
import tensorflow as tf
from home_assistant_sentences import MIN_SENTENCES, Responses, Sentence, part_of, sample

FOLDERS = {"train": "train", "validation": "dev", "test": "test"}


def load(languages: Sequence[str] = ("en",), rows: int = 9_000, seed: int = 0) -> dict[str, tf.data.Dataset]:
    """Return `{"train": records, "validation": records, "test": records}`, in a random order.

    A record is {"words": string tensor [words], "slots": string tensor [words], "intent": string, "language": string,
    "reply": string}: lower-case words and their BIO tags. A word that is partly a slot's value, such as 5-hour, gets
    the slot's tag. If parts of it are values of two slots, as in some German compounds, it gets the first slot's tag.
    The reply is what the assistant says, with the values as in the sentence. It is "" where the assistant says nothing,
    or something that depends on more than these values, such as the state of a device.

    A sentence is a random walk through a template: its alternatives, options, orders and values are equally likely.
    Within a language sentences are distinct; a sentence that two intents share is kept for one of them. Intents get
    equally many sentences if they have enough. What an intent lacks goes to the others, but none gets more than a tenth
    of `rows`. An intent with fewer than 20 sentences is left out, so the total may be less than `rows`.

    A hash of the sentence determines its part, 80/10/10, whatever the seed. In each list of ten values or more, a tenth
    (by their hashes) is held out: a sentence with such a value is in the test part or dropped.

    What makes it easy: the parts share their templates, so the words around a slot occur in training, and nothing is
    misspelt. In other languages, the words for open lists are recognisable because they are English. What makes it
    hard: the held-out values, which occur in a tenth of the test sentences; intents that differ only in the device
    ("start roomba", "start bedtime routine"); and slots that differ only in the sentence's form (a timer's minutes, the
    minutes to add to it).

    Args:
        languages: Codes such as "en", "de", "pt-BR". Languages written without spaces (ja, th, zh-CN) are of little
            use, because spaces separate words. Some others have few templates, and so few intents.
        rows: The number of sentences in all parts and languages together, equally many for each language.
        seed: Seed of the sampling; the same seed gives the same records.

    Raises:
        ValueError: if a language has no templates.
    """
    sentences = [
        sentence
        for language in languages
        for sentence in sample(grammar(language), rows // len(languages), seed, responses(language))
    ]
    random.Random(seed).shuffle(sentences)
    return {part: _records([sentence for sentence in sentences if part_of(sentence.words) == part]) for part in FOLDERS}


def grammar(language: str) -> hassil.Intents:
    """Return a language's templates, downloaded if they are not in the cache."""
    return hassil.Intents.from_dict(_document(language))


def responses(language: str) -> Responses:
    """Return the templates of a language's replies, `{intent: {name: template}}`."""
    return _document(language).get("responses", {}).get("intents", {})


def _document(language):
    wheel = data_packages.download(
        "home-assistant-intents==2026.10.27",
        "home_assistant_intents-2026.10.27-py3-none-any.whl",
        "256eb1e4fc6e6f4943d0ba4e089c9639d74d0e9d62ccddeb7148bc168de55e40",
    )
    folder = "home_assistant_intents/data/"
    with ZipFile(wheel) as files:
        languages = sorted(Path(name).stem for name in files.namelist() if Path(name).match(f"{folder}*.json"))
        if language not in languages:
            raise ValueError(
                f"`languages` must be some of {languages}, received {language!r}. Use codes from the list."
            )
        return json.loads(files.read(f"{folder}{language}.json"))


def _records(sentences: Sequence[Sentence]) -> tf.data.Dataset:
    fields = Sentence.__dataclass_fields__
    columns = {field: tf.constant([getattr(sentence, field) for sentence in sentences], tf.string) for field in fields}
    return tf.data.Dataset.from_tensor_slices(columns).map(
        lambda record: record | {field: tf.strings.split(record[field], " ") for field in ("words", "slots")}
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--languages", nargs="+", default=["en"], metavar="CODE", help="such as en de fr")
    parser.add_argument("--rows", type=int, default=9_000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    args = parser.parse_args(arguments)
    intents = set()
    for part, records in load(args.languages, args.rows, args.seed).items():
        rows = [
            [b" ".join(record["words"]), b" ".join(record["slots"]), record["intent"]]
            for record in records.as_numpy_iterator()
        ]
        intents |= {intent.decode() for *_, intent in rows}
        folder = args.folder / FOLDERS[part]
        folder.mkdir(parents=True, exist_ok=True)
        for name, column in zip(("seq.in", "seq.out", "label"), zip(*rows, strict=True), strict=True):
            (folder / name).write_bytes(b"\n".join(column) + b"\n")
        print(f"{folder}: {len(rows):,} sentences")
    left_out = sorted({intent for language in args.languages for intent in grammar(language).intents} - intents)
    print(f"Intents left out because they have fewer than {MIN_SENTENCES} sentences: {', '.join(left_out) or 'none'}.")


if __name__ == "__main__":
    main()
