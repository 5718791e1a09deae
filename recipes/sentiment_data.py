"""Sentences from four domains, rated for sentiment by people.

Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", ICWSM 2014;
MIT licence. Each sentence has the mean of its raters' marks, from -4 to 4, and their standard deviation. The
deviation is missing where the data set's two files disagree on the mean by more than 0.02 (195 tweets).
"""

import hashlib
import tarfile
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import data_packages
import numpy as np

DOMAINS = ("tweets", "movies", "products", "editorials")
POLARITIES = ("negative", "neutral", "positive")
_FILES = ("tweets", "movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets")


@dataclass(frozen=True)
class Sentences:
    """A part of the data: texts and labels, one entry per sentence; NaN means a missing disagreement."""

    text: np.ndarray
    domain: np.ndarray
    intensity: np.ndarray
    disagreement: np.ndarray

    @property
    def polarity(self) -> np.ndarray:
        """Class of the mean mark: 0 below -0.5, 1 between, 2 from 0.5."""
        return np.digitize(self.intensity, [-0.5, 0.5]).astype("int32")

    @property
    def labels(self) -> dict[str, np.ndarray]:
        """The labels of the four tasks."""
        return {
            "domain": self.domain,
            "polarity": self.polarity,
            "intensity": self.intensity,
            "disagreement": self.disagreement,
        }

    def __len__(self) -> int:
        return len(self.text)

    def head(self, rows: int) -> "Sentences":
        """Return the first rows."""
        return Sentences(self.text[:rows], self.domain[:rows], self.intensity[:rows], self.disagreement[:rows])


def load(folder: Path | None = None) -> tuple[Sentences, Sentences, Sentences]:
    """Return the training, validation and test sentences.

    All sentences of one review or article are in the same part, which a hash of the domain and the document
    determines. Each part is in a fixed random order.

    Args:
        folder: Folder with the files `*_GroundTruth.txt` and `*_anonDataRatings.txt`; by default they are downloaded.
    """
    folder = folder or _download()
    parts: dict[str, list] = {"train": [], "validation": [], "test": []}
    for domain, (name, stem) in enumerate(zip(DOMAINS, _FILES, strict=True)):
        ratings = _read(folder / f"{stem}_anonDataRatings.txt")
        statistics = {row[0]: (float(row[1]), float(row[2])) for row in ratings}
        for identity, mean, text in _read(folder / f"{stem}_GroundTruth.txt"):
            rated_mean, disagreement = statistics[identity]
            is_consistent = abs(rated_mean - float(mean)) <= 0.02
            row = (text, domain, float(mean), disagreement if is_consistent else np.nan)
            parts[_part(name + identity.split("_")[0])].append(row)
    return tuple(_sentences(parts[part]) for part in ("train", "validation", "test"))


def _sentences(rows):
    order = np.random.default_rng(0).permutation(len(rows))
    text, domain, intensity, disagreement = zip(*(rows[i] for i in order), strict=True)
    return Sentences(
        np.array(text, dtype=object),
        np.array(domain, "int32"),
        np.array(intensity, "float32"),
        np.array(disagreement, "float32"),
    )


def _part(document):
    bucket = int(hashlib.md5(document.encode()).hexdigest(), 16) % 10
    return {0: "test", 1: "validation"}.get(bucket, "train")


def _read(path):
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return [line.split("\t", 3 if "Ratings" in path.name else 2) for line in lines if line.strip()]


def _download():
    archive = data_packages.download(
        "vaderSentiment==0.5",
        "vaderSentiment-0.5.zip",
        "5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a",
        "--no-binary=:all:",
    )
    return data_packages.unpack_once(archive, lambda folder: _unpack(archive, folder)) / "hutto_ICWSM_2014"


def _unpack(archive, folder):
    with ZipFile(archive) as outer:
        inner = outer.open("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz")
        with tarfile.open(fileobj=inner) as files:
            files.extractall(folder, filter="data")
