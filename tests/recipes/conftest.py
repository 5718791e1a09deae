"""Small data in the formats that recipes read."""

import random

import pytest

STEMS = ("tweets", "movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets")


@pytest.fixture(scope="session")
def sentiment_folder(tmp_path_factory):
    """Files in the data set's format: sentences of good and bad words, some marks disagreeing between the files."""
    folder, rng = tmp_path_factory.mktemp("data"), random.Random(0)
    for stem in STEMS:
        truth, ratings = [], []
        for i in range(200):
            good, bad = rng.randint(0, 4), rng.randint(0, 4)
            words = ["good"] * good + ["bad!"] * bad + [f"{stem.lower()}{rng.randint(0, 9)}"] * 3
            rng.shuffle(words)
            mean = float(good - bad)
            rated = mean + (0.5 if i % 20 == 0 and stem == "tweets" else 0.0)
            truth.append(f"{i}_1\t{mean}\t{' '.join(words)}\r\n")
            ratings.append(f"{i}_1\t{rated}\t{0.5 + 0.1 * abs(mean)}\t[0, 1]\r\n")
        (folder / f"{stem}_GroundTruth.txt").write_bytes("".join(truth).encode())
        (folder / f"{stem}_anonDataRatings.txt").write_bytes(b"\xef\xbb\xbf" + "".join(ratings).encode())
    return folder
