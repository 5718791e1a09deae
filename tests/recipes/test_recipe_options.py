"""The options that all recipes have, and the file of their metrics."""

import importlib
import json
import re
from argparse import Namespace
from pathlib import Path

import metrics_file
import pytest
import recipe_options

RECIPES = (
    "sentiment",
    "fashion_pairs",
    "census_income",
    "classify_and_tag",
    "intent_slots",
    "glue",
    "question_answering",
    "retrieve",
    "entities_relations",
    "parse",
    "which_tasks",
    "translate",
    "describe_packages",
    "blood_cells",
    "street_of_clothes",
)
REQUIRED = {
    "classify_and_tag": ["--entities", "entities", "--pos", "pos"],
    "question_answering": ["--data", "squad.json"],
    "retrieve": ["--data", "qnli"],
    "entities_relations": ["--data", "conll04"],
    "parse": ["--data", "treebank"],
    "blood_cells": ["--data", "bccd"],
    "translate": ["--data", "multi30k", "--languages", "de"],
}


def common_help(recipe, capsys):
    """Return the section of a recipe's help about the options of all recipes."""
    with pytest.raises(SystemExit):
        importlib.import_module(recipe).parse(["--help"])
    return capsys.readouterr().out.split("options of all recipes:")[1]


def test_all_recipes_have_the_same_options(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    help_texts = {recipe: common_help(recipe, capsys).replace(recipe, "RECIPE") for recipe in RECIPES}
    several_seeds = "fashion_pairs", "census_income", "which_tasks"
    assert len({text for recipe, text in help_texts.items() if recipe not in several_seeds}) == 1
    assert len({help_texts[recipe] for recipe in several_seeds}) == 1
    without_seeds = [re.sub(r".*--seeds? .*\n", "", help_texts[recipe]) for recipe in ("sentiment", "fashion_pairs")]
    assert without_seeds[0] == without_seeds[1]


@pytest.mark.parametrize("recipe", RECIPES)
def test_smoke_changes_defaults_only(recipe):
    parse, required = importlib.import_module(recipe).parse, REQUIRED.get(recipe, [])
    args = parse([*required, "--smoke"])
    assert args.epochs == 1
    assert args.workdir == Path("runs", recipe)
    assert args.export == Path("saved_models", recipe)
    assert parse(required).epochs > 1
    assert parse([*required, "--smoke", "--epochs", "7"]).epochs == 7


def test_options_of_a_run():
    parser = recipe_options.parser("name", "A recipe.", several_seeds=True)
    args = parser.parse_args(["--data", "folder", "--seeds", "2", "--epochs", "3", "--resume"])
    assert recipe_options.of_a_run(args, "smoke") == {
        "data": "folder",
        "epochs": 3,
        "batch_size": None,
        "learning_rate": None,
    }


def test_metrics_file(tmp_path):
    args = Namespace(workdir=tmp_path / "new", epochs=3)
    path = metrics_file.write(args, "equal, seed 0", {"left_accuracy": 0.5}, train_seconds=2.0)
    assert path == tmp_path / "new" / "metrics.json"
    assert json.loads(path.read_text()) == {
        "model": "equal, seed 0",
        "test": {"left_accuracy": 0.5},
        "train_seconds": 2.0,
        "options": {"workdir": str(tmp_path / "new"), "epochs": 3},
    }
    assert "<title>new: equal, seed 0</title>" in (tmp_path / "new" / "report.html").read_text()
