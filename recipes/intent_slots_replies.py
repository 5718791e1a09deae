"""The third task of `intent_slots`: what the assistant replies to a request."""

from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

import tf_mtl as mtl

LENGTH = 64
VOCABULARY_SIZE = 600  # so few that the values of slots, also unseen ones, are written in pieces
METRICS = {
    "reply_exact_match": "reply, exact match",
    "reply_exact_match_unseen": "reply, exact match, unseen replies",
    "reply_baseline_exact_match": "most frequent reply of the predicted intent, exact match",
}


def task(train: tf.data.Dataset) -> mtl.tasks.Generation:
    """Return the task, with sub-words learnt from the training replies.

    Raises:
        ValueError: if no sentence has a reply.
    """
    texts = [reply for *_, reply in labelled(train)] if "reply" in train.element_spec else []
    if not texts:
        raise ValueError(
            "--replies needs training sentences with replies, received none. Leave out --data: the sentences of "
            "home-assistant have replies."
        )
    return mtl.tasks.Generation("reply", mtl.text.learn_tokenizer(texts, VOCABULARY_SIZE), length=LENGTH)


def scores(
    model: mtl.MultiTaskModel, preprocessor: mtl.text.TextPreprocessor, records: Mapping[str, tf.data.Dataset]
) -> dict[str, float]:
    """Return the shares of test replies that are generated exactly, of all and of those that training has not seen.

    The baseline replies with the most frequent training reply of the predicted intent. A share of no replies is left
    out.
    """
    replies_of_intent: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for _, intent, reply in labelled(records["train"]):
        replies_of_intent[intent][reply] += 1
    seen = set().union(*replies_of_intent.values())
    texts, _, expected = zip(*labelled(records["test"]), strict=True)
    answers = model.answer(list(texts), preprocessor, tasks=["intent", "reply"], batch_size=100)
    frequent = {intent: counts.most_common(1)[0][0] for intent, counts in replies_of_intent.items()}
    guesses = [frequent.get(intent) for intent in answers["intent"]["label"]]
    is_right = [text.strip() == reply for text, reply in zip(answers["reply"]["text"], expected, strict=True)]
    matches = {
        "reply_exact_match": is_right,
        "reply_exact_match_unseen": [
            right for right, reply in zip(is_right, expected, strict=True) if reply not in seen
        ],
        "reply_baseline_exact_match": [guess == reply for guess, reply in zip(guesses, expected, strict=True)],
    }
    return {name: float(np.mean(values)) for name, values in matches.items() if values}


def sizes(records: Mapping[str, tf.data.Dataset]) -> str:
    """Return a sentence about the numbers of replies."""
    seen, expected = ([reply for *_, reply in labelled(records[part])] for part in ("train", "test"))
    unseen = sum(reply not in set(seen) for reply in expected)
    return f"Replies: {len(seen):,} train, {len(expected):,} test, {unseen:,} of these unseen in training."


def labelled(records: tf.data.Dataset) -> list[tuple[str, str, str]]:
    """Return (text, intent, reply) of the sentences with a reply."""
    rows = ((b" ".join(row["words"]), row["intent"], row["reply"].strip()) for row in records.as_numpy_iterator())
    return [(text.decode(), intent.decode(), reply.decode()) for text, intent, reply in rows if reply]
