"""Recipes run through their command line, and small data in the formats that they read."""

import contextlib
import importlib
import io
import random
import subprocess
import sys
from pathlib import Path

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"
STEMS = ("tweets", "movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets")


@pytest.fixture(scope="session")
def run_recipe():
    """A function that runs a recipe in a new process, with results in `folder`/runs and `folder`/export."""

    def run(recipe, folder, *options):
        folders = ["--workdir", folder / "runs", "--export", folder / "export"]
        command = [sys.executable, RECIPES / f"{recipe}.py", *folders, *options]
        return subprocess.run(command, capture_output=True, text=True, cwd=folder)

    return run


@pytest.fixture(scope="session")
def run_in_this_process():
    """A function that runs a recipe in this process, which is faster, and returns the printed text."""

    def run(recipe, folder, *options):
        folders = ["--workdir", folder / "runs", "--export", folder / "export"]
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            importlib.import_module(recipe).main([str(option) for option in (*folders, *options)])
        return printed.getvalue()

    return run


@pytest.fixture(scope="session")
def sentiment_folder(tmp_path_factory):
    """Files in the data set's format: sentences of good and bad words; some means differ between the files."""
    folder, rng = tmp_path_factory.mktemp("data"), random.Random(0)
    for stem in STEMS:
        truth, ratings = [], []
        for i in range(200):
            good, bad = rng.randint(0, 4), rng.randint(0, 4)
            words = ["good"] * good + ["bad!"] * bad + [f"{stem.lower()}{rng.randint(0, 9)}"] * 3
            rng.shuffle(words)
            mean = float(good - bad)
            rated_mean = mean + (0.5 if i % 20 == 0 and stem == "tweets" else 0.0)
            truth.append(f"{i}_1\t{mean}\t{' '.join(words)}\r\n")
            ratings.append(f"{i}_1\t{rated_mean}\t{0.5 + 0.1 * abs(mean)}\t[0, 1]\r\n")
        (folder / f"{stem}_GroundTruth.txt").write_bytes("".join(truth).encode())
        (folder / f"{stem}_anonDataRatings.txt").write_bytes(b"\xef\xbb\xbf" + "".join(ratings).encode())
    return folder
