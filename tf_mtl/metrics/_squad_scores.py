"""SQuAD's scores of answers as texts."""

import re
import string
from collections import Counter
from collections.abc import Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def squad_scores(answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return exact match and F1 of answers to questions, from 0 to 1.

    Both compare texts in lower case, without ASCII punctuation, English articles and superfluous white space. F1 is
    that of the words, and the best reference of each question counts. "" means that a question has no answer; so does a
    question without references.

    Args:
        answers: The answers, one per question.
        references: The expected answers to each question.

    Returns:
        `{"exact_match": ..., "f1": ...}`.

    Raises:
        ValueError: for different numbers of answers and questions, or none, or texts in place of lists of references.

    Reference: Rajpurkar et al., "SQuAD: 100,000+ questions for machine comprehension of text", EMNLP 2016.

    Example:

    >>> mtl.metrics.squad_scores(["the Nile river", ""], [["Nile", "The Nile"], []])
    {'exact_match': 0.5, 'f1': 0.8333333333333333}
    """
    if len(answers) != len(references) or not len(answers):
        raise ValueError(
            f"`answers` and `references` must have one entry per question, received {len(answers)} and "
            f"{len(references)}."
        )
    text = next((right for right in references if isinstance(right, str)), None)
    if text is not None:
        raise ValueError(f"`references` must hold a list of answers to each question, received the text {text!r}.")
    words = [[_normalized(reference) for reference in right] or [[]] for right in references]
    pairs = [(_normalized(answer), right) for answer, right in zip(answers, words, strict=True)]
    return {
        "exact_match": sum(given in right for given, right in pairs) / len(pairs),
        "f1": sum(max(_f1(given, one) for one in right) for given, right in pairs) / len(pairs),
    }


def _normalized(text: str) -> list[str]:
    return re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split()


def _f1(given: list[str], right: list[str]) -> float:
    if not given or not right:
        return float(given == right)
    return 2 * (Counter(given) & Counter(right)).total() / (len(given) + len(right))
