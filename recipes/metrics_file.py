"""The files in which every recipe leaves its results: metrics.json and, for readers, report.html."""

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import recipe_options

import tf_mtl as mtl


def write(args: argparse.Namespace, model: str, test: Mapping[str, float], **others: Any) -> Path:
    """Write `<workdir>/metrics.json` and the report, and return the path of the first.

    Args:
        args: The recipe's options, which are written too.
        model: The model that `test` is about.
        test: Its results on the test data, `{"<task>_<metric>": value}`.
        **others: Further keys of the document.
    """
    args.workdir.mkdir(parents=True, exist_ok=True)
    path = args.workdir / "metrics.json"
    document = {"model": model, "test": test, **others, "options": recipe_options.as_json(args)}
    path.write_text(json.dumps(document, indent=2) + "\n")
    mtl.report.html_of_run(args.workdir)
    return path


def add_model_card(args: argparse.Namespace, export: Path) -> None:
    """Copy the model card of an export to the results, and show it in the report."""
    args.workdir.mkdir(parents=True, exist_ok=True)
    shutil.copy(export / "model_card.json", args.workdir)
    if (args.workdir / "metrics.json").exists():
        mtl.report.html_of_run(args.workdir)
