"""Recipes run through their command line, and small data in the formats that they read."""

import contextlib
import importlib
import io
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
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


def person(rng):
    """A row of the census. Education and weeks of work determine the income; age determines the marital status."""
    fields = [f" {rng.choice(['A', 'B', '?'])}" for _ in range(42)]
    age, weeks, education = rng.integers(90), rng.integers(53), rng.integers(4)
    fields[0], fields[39], fields[24] = str(age), f" {weeks}", f" {rng.random() * 2000:.2f}"
    fields[4] = [" Children", " High school graduate", " Bachelors degree(BA AB BS)", " Doctorate degree(PhD EdD)"][
        education
    ]
    fields[1] = fields[1].replace("A", "Self-employed-incorporated")
    for column in (5, 16, 17, 18):
        fields[column] = f" {rng.choice([0, 0, 0, 1500, 99999])}"
    fields[28] = fields[28].replace("A", "Yes").replace("B", "No")
    fields[30], fields[40] = f" {rng.integers(7)}", " 94"
    fields[7] = " Never married" if age < 25 else " Divorced"
    return [*fields[:41], " 50000+." if weeks > 20 and education > 1 else " - 50000."]


@pytest.fixture(scope="session")
def census_folder(tmp_path_factory):
    """The census' two files, about a few made-up people."""
    folder, rng = tmp_path_factory.mktemp("census"), np.random.default_rng(0)
    for name, rows in {"train": 600, "test": 200}.items():
        lines = [",".join(person(rng)) + "\n" for _ in range(rows)]
        (folder / f"census_income_1994_1995_{name}.csv").write_text("".join(lines))
    return folder


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
