"""Sentences with intents, slots and replies, sampled from the templates of Home Assistant."""

import hashlib
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import hassil
from hassil.expression import Alternative, Expression, Group, ListReference, Permutation, RuleReference, TextChunk
from hassil.intents import IntentData, RangeSlotList, TextSlotList
from hassil.util import PUNCTUATION_STR
from home_assistant_replies import render
from home_assistant_words import NAMES, WORDS

MIN_SENTENCES = 20  # an intent with fewer is left out
MAX_DRAWS = 300  # draws in a row without a new sentence, after which an intent counts as used up

Responses = Mapping[str, Mapping[str, str]]  # the templates of replies, by intent and name
Values = list[tuple[Expression, bool]]  # the values of a list, and whether each is held out for the test part


@dataclass(frozen=True)
class Sentence:
    """Words and tags, each joined by spaces; the reply is "" if it is unknown."""

    words: str
    slots: str
    intent: str
    language: str
    reply: str = ""


def sample(
    grammar: hassil.Intents, rows: int, seed: int = 0, responses: Responses = MappingProxyType({})
) -> list[Sentence]:
    """Return distinct sentences of one language, drawn for each intent in turn."""
    rng = random.Random(f"{seed} {grammar.language}")
    values = _values_by_list(grammar)
    blocks = {
        name: [_Block(data, grammar, values, responses.get(name, {})) for data in intent.data]
        for name, intent in grammar.intents.items()
    }
    sentences: dict[str, Sentence] = {}  # by words
    counts: Counter[str] = Counter()
    active = list(blocks)
    while active and len(sentences) < rows:
        for intent in active[: rows - len(sentences)]:
            sentence = _new_sentence(intent, blocks[intent], grammar.language, sentences, rng)
            if sentence:
                sentences[sentence.words] = sentence
                counts[intent] += 1
            elif counts[intent] < MIN_SENTENCES:
                sentences = {words: other for words, other in sentences.items() if other.intent != intent}
            if not sentence or counts[intent] >= rows / 10:
                active.remove(intent)
    return list(sentences.values())


def part_of(words: str) -> str:
    """Return the part that a sentence belongs to: train, validation or test."""
    return {0: "test", 1: "validation"}.get(_hash(words) % 10, "train")


def _new_sentence(intent, blocks, language, sentences, rng):
    for _ in range(MAX_DRAWS):
        words, tags, held_out, reply = rng.choice(blocks).draw(rng)
        if words and words not in sentences and (not held_out or part_of(words) == "test"):
            return Sentence(words, tags, intent, language, reply)
    return None


@dataclass(frozen=True, eq=False)
class _Span:
    """One occurrence of a slot in a sentence."""

    slot: str
    held_out: bool


class _Block:
    """Templates with the rules and lists that they refer to, and the template of the reply."""

    def __init__(
        self,
        data: IntentData,
        grammar: hassil.Intents,
        values: Mapping[str, Values],
        responses: Mapping[str, str],
    ):
        domains = data.requires_context.get("domain", NAMES)
        names = [name for domain in domains for name in values[f"name {domain}"]]
        self.templates = [template.expression for template in data.sentences]
        self.rules = grammar.expansion_rules
        self.values = {"name": names, **values}
        self.response = responses.get(data.response or "default", "")
        self.constants = {slot: str(value) for slot, value in data.slots.items()}

    def draw(self, rng: random.Random) -> tuple[str, str, bool, str]:
        """Return words, tags, whether one of the values is held out, and the reply."""
        text, spans = "", []  # the span of each character
        for piece, span in self._pieces(rng.choice(self.templates), None, rng):
            text += piece.lower()
            spans += [span] * len(piece.lower())
        words, tags, previous = [], [], None
        for match in re.finditer(r"\S+", text):
            if word := match[0].strip(PUNCTUATION_STR):
                span = next(filter(None, spans[match.start() : match.end()]), None)
                words.append(word)
                tags.append(f"{'I' if span is previous else 'B'}-{span.slot}" if span else "O")
                previous = span
        spoken = {span: "" for span in spans if span}
        for character, span in zip(text, spans, strict=True):
            if span:
                spoken[span] += character
        slots = self.constants | {span.slot: _stripped(value) for span, value in spoken.items()}
        return " ".join(words), " ".join(tags), any(span.held_out for span in spoken), render(self.response, slots)

    def _pieces(
        self, expression: Expression, span: _Span | None, rng: random.Random
    ) -> Iterator[tuple[str, _Span | None]]:
        """Yield the pieces of a random sentence, each with its span."""
        match expression:
            case TextChunk():
                yield expression.text, span
            case RuleReference():
                yield from self._pieces(self.rules[expression.rule_name].expression, span, rng)
            case ListReference():
                value, held_out = rng.choice(self.values[expression.list_name])
                yield from self._pieces(value, _Span(expression.slot_name, held_out), rng)
            case Alternative():
                yield from self._pieces(rng.choice(expression.items), span, rng)
            case Group():
                items = expression.items
                for item in rng.sample(items, len(items)) if isinstance(expression, Permutation) else items:
                    yield from self._pieces(item, span, rng)


def _values_by_list(grammar: hassil.Intents) -> dict[str, Values]:
    keyed = {name: _word_values(words) for name, words in WORDS.items()}
    keyed |= {f"name {domain}": _word_values(words) for domain, words in NAMES.items()}
    for name, slot_list in grammar.slot_lists.items():
        if isinstance(slot_list, TextSlotList):
            keyed[name] = [(str(value.value_out), value.text_in) for value in slot_list.values]
        elif isinstance(slot_list, RangeSlotList):
            keyed[name] = [(str(number), TextChunk(str(number))) for number in slot_list.get_numbers()]
    return {name: _hold_out(values) for name, values in keyed.items()}


def _word_values(words: str) -> list[tuple[str, Expression]]:
    return [(word, TextChunk(word)) for word in words.split(", ")]


def _stripped(value: str) -> str:
    """Return a value as a sentence's words are written, without punctuation around them."""
    return " ".join(filter(None, (word.strip(PUNCTUATION_STR) for word in value.split())))


def _hold_out(values: Sequence[tuple[str, Expression]]) -> Values:
    """Mark a tenth of the values of a list of ten or more, chosen by the hashes of their keys."""
    keys = sorted({key for key, _ in values}, key=_hash)
    held_out = keys[: round(len(keys) / 10)] if len(keys) >= 10 else ()
    return [(value, key in held_out) for key, value in values]


def _hash(text: str) -> int:
    return int(hashlib.md5(text.encode()).hexdigest(), 16)
