"""Questions about paragraphs, from files in SQuAD's JSON format."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

PARTS = ("train", "dev", "test")
SMOKE_QUESTIONS = {"train": 320, "dev": 64, "test": 64}
_UNANSWERABLE_EVERY = 2  # questions

Article = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """A question about a paragraph.

    Attributes:
        context: The paragraph.
        question: The question.
        answers: The expected answers; () if the paragraph does not answer the question.
        span: The first answer's begin and end in the paragraph, in UTF-8 bytes; (0, 0) without an answer.
    """

    context: str
    question: str
    answers: tuple[str, ...] = ()
    span: tuple[int, int] = (0, 0)


def load(path: Path, smoke: bool) -> dict[str, list[Question]]:
    """Return `{part: questions}`.

    Of a file, the articles 1 to 4 of each six are for training, the fifth for development, the sixth for the test. A
    folder has a file with "train" in its name, split in this way into training and development data (five of six for
    training), and one with "dev" for the test, as SQuAD's own test data are not public. A folder may also have the only
    file.

    If no question is marked as impossible, as in SQuAD 1 and XQuAD, every second one is also asked about another
    paragraph of the same article, the next one that contains none of its answers, and is unanswerable there.

    Args:
        path: A file, or a folder of files.
        smoke: Whether to take only a few hundred questions.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for files in another format, or with fewer articles than parts.
    """
    articles = _articles_by_part(path)
    every = [article for part in articles.values() for article in part]
    has_impossible = any(qa.get("is_impossible", False) for article in every for _, qa in _asked(article))
    questions = {
        part: [question for article in articles[part] for question in _questions(article, make=not has_impossible)]
        for part in PARTS
    }
    return {part: questions[part][: SMOKE_QUESTIONS[part]] for part in PARTS} if smoke else questions


def records(questions: Sequence[Question]) -> tf.data.Dataset:
    """Return rows with the fields context, question, answer and answerable."""
    return tf.data.Dataset.from_tensor_slices(
        {
            "context": [question.context for question in questions],
            "question": [question.question for question in questions],
            "answer": [question.span for question in questions],
            "answerable": [int(bool(question.answers)) for question in questions],
        }
    )


def _articles_by_part(path: Path) -> dict[str, Sequence[Article]]:
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if len(files) == 1:
        articles = _articles(files[0])
        by_part = _every_sixth(articles, {"dev": 4, "test": 5})
    else:
        train, test = (_file(path, files, word) for word in ("train", "dev"))
        by_part = {**_every_sixth(_articles(train), {"dev": 5}), "test": _articles(test)}
    empty = [part for part in PARTS if not by_part[part]]
    if empty:
        raise ValueError(f"{path} has too few articles to be split into {', '.join(PARTS)}: at least 6 in a file.")
    return by_part


def _every_sixth(articles: Sequence[Article], position_of_part: Mapping[str, int]) -> dict[str, Sequence[Article]]:
    """Return the articles at some positions of each six by part, and all others for training."""
    parts = {part: articles[position::6] for part, position in position_of_part.items()}
    positions = position_of_part.values()
    return {"train": [article for index, article in enumerate(articles) if index % 6 not in positions], **parts}


def _file(folder: Path, files: Sequence[Path], word: str) -> Path:
    matches = [file for file in files if word in file.name.lower()]
    if len(matches) != 1:
        raise FileNotFoundError(
            f"{folder} must have one JSON file, or one with train and one with dev in its name; received "
            f"{[file.name for file in files]}. Rename or remove files, or pass a file."
        )
    return matches[0]


def _articles(file: Path) -> Sequence[Article]:
    try:
        articles = json.loads(file.read_text("utf-8"))["data"]
        for article in articles:
            for _, qa in _asked(article):
                qa["question"], qa["answers"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{file} is not in SQuAD's format, data: [paragraphs: [context, qas: [question, answers]]]: "
            f"{type(error).__name__}: {error}."
        ) from error
    return articles


def _asked(article: Article) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each question of an article after the paragraph that it is about."""
    for paragraph in article["paragraphs"]:
        for qa in paragraph["qas"]:
            yield paragraph["context"], qa


def _questions(article: Article, make: bool) -> Iterator[Question]:
    """Yield the questions of an article.

    Args:
        article: The article.
        make: Whether to make unanswerable ones.
    """
    contexts = [paragraph["context"] for paragraph in article["paragraphs"]]
    for index, (context, qa) in enumerate(_asked(article)):
        answers = () if qa.get("is_impossible") else tuple(answer["text"] for answer in qa["answers"])
        yield Question(context, qa["question"], answers, _span(context, qa) if answers else (0, 0))
        if make and index % _UNANSWERABLE_EVERY == 0:
            position = contexts.index(context)
            others = [*contexts[position + 1 :], *contexts[:position]]
            other = next((other for other in others if not any(answer in other for answer in answers)), None)
            if other is not None:
                yield Question(other, qa["question"])


def _span(context: str, qa: Mapping[str, Any]) -> tuple[int, int]:
    """Return the begin and the end of the first answer, in bytes; SQuAD counts characters."""
    text, start = qa["answers"][0]["text"], qa["answers"][0]["answer_start"]
    if not context.startswith(text, start):
        raise ValueError(
            f"The question {qa['question']!r} has the answer {text!r}, but its paragraph has "
            f"{context[start : start + len(text)]!r} at `answer_start`, {start}. Fix `answer_start`."
        )
    begin = len(context[:start].encode())
    return begin, begin + len(text.encode())
